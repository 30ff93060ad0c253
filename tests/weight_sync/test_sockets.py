"""Both ends of a weight sync find the same socket, and no other run's."""

import os
import subprocess
import sys

import pytest

from cppo_verl.weight_sync import sockets

NAMES = """
import os

import cppo_verl.weight_sync.register
from verl.workers.rollout.base import get_rollout_class
from verl.workers.rollout.vllm_rollout import ServerAdapter
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from cppo_verl.weight_sync.sockets import SUFFIX
from cppo_verl.weight_sync.adapters import OwnSocketExtension

VERL_NAME = "ipc:///tmp/name-rank-0.sock"
# verl's own would ask Ray and vLLM, which do not run.
ServerAdapter.__init__ = lambda self: setattr(self, "zmq_handle", VERL_NAME)
vLLMColocateWorkerExtension._get_zmq_handle = lambda self: VERL_NAME
for suffix in ("one", "two", ""):
    os.environ[SUFFIX] = suffix
    adapter = get_rollout_class("vllm", "async")()
    print(adapter.zmq_handle, object.__new__(OwnSocketExtension)._get_zmq_handle())
"""


def test_both_ends_add_the_runs_suffix_to_the_name_that_verl_gives():
    """verl's table of rollout classes is private, and so is the method that names the socket: this fails when
    either has moved."""
    env = os.environ | {"VERL_PLATFORM": "cpu"}
    done = subprocess.run([sys.executable, "-c", NAMES], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    names = [f"ipc:///tmp/name-rank-0{suffix}.sock" for suffix in ("-one", "-two", "")]
    assert done.stdout.splitlines()[-3:] == [f"{name} {name}" for name in names]


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("external_lib=my_models", f"external_lib=[{sockets.REGISTER},my_models]"),
        ("external_lib=null", f"external_lib=[{sockets.REGISTER}]"),
        (f"external_lib=[my_models,{sockets.REGISTER}]", None),
    ],
)
def test_a_library_of_the_users_own_goes_beside_ours(config, override, remedy):
    why = sockets.fault(config(f"actor_rollout_ref.model.{override}"))
    assert why is None if remedy is None else why.endswith(f"actor_rollout_ref.model.{remedy}")


def test_an_engine_with_another_extension_is_refused(config):
    key = "actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls"
    assert sockets.fault(config(f"{key}=mine.Extension")).startswith(f"{key}=mine.Extension")
    assert sockets.fault(config(f"{key}=mine.Extension", "actor_rollout_ref.model.external_lib=null")) is None
