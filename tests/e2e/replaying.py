"""An agent loop that samples each completion once, and gives the same one to every later run that asks for it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

FOLDER = "CPPO_TEST_COMPLETIONS"


class ReplayingLoop(SingleTurnAgentLoop):
    """verl's own loop around a folder of completions.

    A completion is known by the seed of its request, or, to a trainer that gives none, by the question's index in the
    data and the sample's number.
    """

    async def run(self, sampling_params: dict, **kwargs) -> AgentLoopOutput:
        if not sampling_params["temperature"]:  # a validation
            return await super().run(sampling_params, **kwargs)
        names = [f"seed_{sampling_params['seed']}"] if "seed" in sampling_params else []
        if "session_id" in kwargs:
            names.append(f"sample_{kwargs['index']}_{kwargs['session_id']}")
        paths = [Path(os.environ[FOLDER]) / f"{name}.pt" for name in names]
        known = next((path for path in paths if path.exists()), None)
        output = torch.load(known, weights_only=False) if known else await super().run(sampling_params, **kwargs)
        for path in paths:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(output, path)
        if known:
            sampled_by = kwargs.get("global_steps", 1) - 1
            output.extra_fields |= {"min_global_steps": sampled_by, "max_global_steps": sampled_by}
        return output
