"""Importing this makes verl's workers send weights through `OwnSocketAdapter`.

verl 0.9.1 has no call that registers a rollout class, only the table that it looks them up in;
tests/weight_sync/test_sockets.py fails when the table no longer fits.
"""

from verl.workers.rollout import base

base._ROLLOUT_REGISTRY["vllm", "async"] = "cppo_verl.weight_sync.adapters.OwnSocketAdapter"
