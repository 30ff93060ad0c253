"""The same as `cppo_verl.trainer.v0.agent_loop`, over verl's V1 agent loop, which puts completions into the queue."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import ray
import transfer_queue as tq
from tensordict import TensorDict
from verl.experimental.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.trainer.group.pruned import score_and_prune, tagged
from cppo_verl.trainer.group.scored import SCORED
from cppo_verl.trainer.group.worker import GroupWorker
from cppo_verl.trainer.openings import OpenedTurns
from cppo_verl.trainer.reported import ReportedApart
from cppo_verl.trainer.rollout_seed import SeededTurns, hashed
from cppo_verl.trainer.v1.idle import Span
from cppo_verl.trainer.v1.putting import Putter, columns_read, completions_of
from cppo_verl.trainer.v1.queue import ERROR, RULE, TRAIN, VALIDATION

logger = logging.getLogger(__name__)
NOT_COLUMNS = "agent_name", "__rollout_n__", "__do_sample__"
"""Of what V1's workers are given of a question: what says how it is sampled."""
_VERLS_WORKER = AgentLoopWorkerTQ.__ray_metadata__.modified_class.__ray_actor_class__
"""The class in verl's Ray actor."""


class CPPOAgentLoopWorkerTQ(OpenedTurns, ReportedApart, SeededTurns, GroupWorker, _VERLS_WORKER):
    """verl's V1 worker; each training request has a seed, as in V0, and what went wrong is noted with the question."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)  # Ray would else send a copy of verl's, whose `super()` is of another class

    def sampling_spans(self) -> list[Span]:
        """When completions were being sampled, since the last call."""
        return self.llm_client.sampling.take()

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        """From a question to its completions in the queue, put there at once where they are sampled together."""
        rule = prompt.pop(RULE, None)
        n, is_greedy = self.rollout_config.n, not prompt.get("__do_sample__", True)
        is_single = trajectory["validate"] or is_greedy or prompt.get("__rollout_n__", n) != n
        if is_single or not self.goes_together([prompt["agent_name"]], n):
            return await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        question = {name: value for name, value in prompt.items() if name not in NOT_COLUMNS}
        uid = question["uid"]
        await tq.async_kv_put(key=uid, partition_id=TRAIN, tag={"status": "running"})
        try:
            outputs = await self.answer(question, sampling_params, n, self._question_seed(uid))
            tag = {"status": "finished"} | await self._put(question, outputs, rule)
        except Exception as error:  # whatever it is, it is noted, and the trainer decides
            logger.exception("the sampling of question %s failed", uid)
            tag = {"status": "failure", ERROR: described(error)}
        await tq.async_kv_put(key=uid, partition_id=TRAIN, tag=tag)

    async def _put(
        self, question: dict[str, Any], outputs: list[AgentLoopOutput], rule: PruningRule | None
    ) -> dict[str, Any]:
        """Put what is kept of a question into the queue; returns what the question's tag says of all of it."""
        is_pruned = rule is not None and self.is_of_one_turn
        kept, tag = dict(enumerate(outputs)), {}
        if is_pruned:
            scored, kept = score_and_prune(question["uid"], outputs, rule, self.config)
            tag = {SCORED: scored.told(), RULE: tagged(rule, self.config)}
        await self._putter.put(completions_of(question, kept, columns_read(is_pruned)))
        return tag

    @cached_property
    def _putter(self) -> Putter:
        return Putter()

    def _question_seed(self, uid: str) -> int | None:
        seed = self.config.cppo.rollout_seed
        # A completion that goes on under newer weights would start its seed's random numbers again.
        if seed is None or self.config.trainer.v1.trainer_mode != "cppo_sync":
            return None
        return hashed(seed, uid)

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        seed = None if trajectory["validate"] else self._question_seed(kwargs["uid"])
        if seed is not None:
            sampling_params = {**sampling_params, "seed": seed + kwargs["session_id"]}
        try:
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        except Exception as error:  # whatever it is, it is noted and goes on to verl
            partition = VALIDATION if trajectory["validate"] else TRAIN
            await tq.async_kv_put(key=kwargs["uid"], partition_id=partition, tag={ERROR: described(error)})
            raise


def described(error: Exception) -> str:
    """An error's kind and text; of one that another process of Ray's raised, that one's own: Ray's is a traceback."""
    own = getattr(error, "cause", None) or error
    return f"{type(own).__name__}: {own}"


class CPPOAgentLoopManagerTQ(AgentLoopManagerTQ):
    """verl's V1 manager with the worker above."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(CPPOAgentLoopWorkerTQ)

    def generate_sequences(self, prompts: TensorDict) -> None:
        """verl's, which begins with the first worker each time: single questions would all be that one's. The next
        begin with the worker after those that these go to."""
        workers = self.agent_loop_workers
        busy = len(prompts.chunk(len(workers)))
        super().generate_sequences(prompts)
        self.agent_loop_workers = workers[busy:] + workers[:busy]
