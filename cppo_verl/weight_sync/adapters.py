"""The two ends of a weight sync. Importing this imports vLLM."""

from __future__ import annotations

from verl.workers.rollout.vllm_rollout import ServerAdapter
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from cppo_verl.weight_sync.sockets import of_this_run


class OwnSocketAdapter(ServerAdapter):
    """verl's adapter, which sends the weights."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.zmq_handle = of_this_run(self.zmq_handle)


class OwnSocketExtension(vLLMColocateWorkerExtension):
    """verl's extension of vLLM's worker, which receives them."""

    def _get_zmq_handle(self) -> str:
        return of_this_run(super()._get_zmq_handle())
