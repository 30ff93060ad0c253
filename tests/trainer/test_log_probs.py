"""Log-probs of many tokens at a time, in place of verl's of one: the same numbers, few kernels, in every worker."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch.distributed._tools.mem_tracker import MemTracker
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.workers.engine.fsdp import transformer_impl

from cppo_verl.hardware.memory import FLOAT, HALF, TOKENS_AT_ONCE, logit_bytes
from cppo_verl.trainer import log_probs
from cppo_verl.trainer.worker_options import LOG_PROBS, set_worker_options
from cppo_verl.weight_sync.sockets import REGISTER

VIEWS = ("view", "expand", "slice", "select", "squeeze", "split", "unbind", "detach", "as_strided")
"""Operations that launch no kernel."""


class Kernels(TorchDispatchMode):
    """Counts what a GPU would launch."""

    number = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.number += not any(view in str(operation) for view in VIEWS)
        return operation(*args, **(kwargs or {}))


class CUDAAutocast(TorchFunctionMode):
    """What autocast does on a GPU and not on the CPU: the log-softmax of bfloat16 in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.log_softmax, torch.Tensor.log_softmax):
            args = args[0].float(), *args[1:]
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """verl's engine settles on a platform when verl is imported, whichever test that was for."""
    for name in ("get_device_name", "get_device_id"):
        monkeypatch.setattr(transformer_impl, name, lambda: "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (TOKENS_AT_ONCE,), (2 * TOKENS_AT_ONCE + 3,), (3, 5), (0,)])
def test_values_and_gradients_are_bit_identical_to_verls(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn((*shape, 700), generator=generator)).to(dtype)
    labels = torch.randint(0, 700, shape, generator=generator)
    weights = torch.randn(shape, generator=generator)

    def values_and_gradient(function):
        given = logits.clone().requires_grad_()
        values = function(given, labels)
        (values * weights).sum().backward()
        return values.detach(), given.grad

    if 0 in shape:  # which verl's cannot
        assert values_and_gradient(log_probs.log_probs)[0].shape == shape
        return
    ours, verls = values_and_gradient(log_probs.log_probs), values_and_gradient(log_probs.verls)
    assert all(torch.equal(*pair) for pair in zip(ours, verls, strict=True))


def test_they_do_not_depend_on_the_number_of_threads():
    """verl's do, where a row's sum is long enough to be split."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn((64, 100_000), generator=generator), torch.arange(64)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(log_probs.log_probs(logits, labels))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def packed_step(dtype: torch.dtype, lengths: list[int], vocabulary: int, *, packed: bool = True) -> torch.Tensor:
    """The loss of verl's own engine on a micro-batch, with a model of nothing but a head."""
    head = torch.zeros((vocabulary, 4), requires_grad=True)
    engine = object.__new__(transformer_impl.FSDPEngineWithLMHead)
    engine.module = lambda input_ids, **_: SimpleNamespace(logits=F.linear(torch.ones(*input_ids.shape, 4), head))
    engine.use_ulysses_sp, engine.pad_to_length, engine._autocast_dtype = False, False, dtype
    engine.get_data_parallel_group = lambda: None
    rows = [torch.zeros(length, dtype=torch.long) for length in lengths]
    columns = {
        "input_ids": torch.nested.as_nested_tensor(rows, layout=torch.jagged),
        "position_ids": torch.nested.as_nested_tensor([row.clone() for row in rows], layout=torch.jagged),
    }
    batch = TensorDict(columns, batch_size=[len(lengths)])
    tu.assign_non_tensor(batch, temperature=1.0, use_remove_padding=packed, calculate_entropy=False, pad_token_id=0)
    return engine.forward_step(
        batch, lambda model_output, data, dp_group: (model_output["log_probs"].values().mean(), {}), forward_only=False
    )[0]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_verls_engine_takes_them(monkeypatch, dtype, packed):
    """verl looks the function up by name, in the module where it is replaced, for packed and padded rows alike."""
    taken = []

    def counted(logits, labels):
        taken.append(len(labels))
        return log_probs.log_probs(logits, labels)

    assert torch_functional.logprobs_from_logits_v2 is log_probs.log_probs
    monkeypatch.setattr(torch_functional, "logprobs_from_logits_v2", counted)
    packed_step(dtype, [40, 24], vocabulary=32, packed=packed).backward()
    assert taken == [64]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_are_of_parts_and_not_of_tokens(monkeypatch, dtype):
    """Forward and backward of verl's engine; verl's own function, to show that the loop is still there."""

    def kernels(tokens: int) -> int:
        with Kernels() as counted:
            packed_step(dtype, [tokens], vocabulary=32).backward()
        return counted.number

    few, many = kernels(TOKENS_AT_ONCE), kernels(4 * TOKENS_AT_ONCE)
    assert many - few < 3 * 20
    monkeypatch.setattr(torch_functional, "logprobs_from_logits_v2", log_probs.verls)
    assert kernels(4 * TOKENS_AT_ONCE) > 4 * TOKENS_AT_ONCE


@pytest.mark.parametrize(
    ("number", "packed", "tokens"), [(HALF, True, 1024), (HALF, True, 4096), (FLOAT, False, 1024), (FLOAT, False, 4096)]
)
def test_what_they_take_is_what_is_reckoned_with(number, packed, tokens):
    """As GPUs train: bfloat16, packed; and as `device=cpu` does: float32, padded."""
    vocabulary = 1024
    with MemTracker() as tracker, CUDAAutocast():
        lengths = [128] * (tokens // 128 - 1) + [127]  # one is shorter, so that there is padding
        packed_step(torch.bfloat16 if number == HALF else torch.float32, lengths, vocabulary, packed=packed).backward()
    taken = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert logit_bytes(number, tokens) * vocabulary == pytest.approx(taken, rel=0.02)


@pytest.mark.parametrize(
    ("override", "libraries"),
    [
        (f"external_lib={REGISTER}", [REGISTER, LOG_PROBS]),
        (f"external_lib=[{REGISTER},string]", [REGISTER, "string", LOG_PROBS]),
        ("external_lib=null", [LOG_PROBS]),
    ],
)
def test_workers_import_them_beside_what_the_config_names(config, override, libraries):
    given = config("recipe=gsm8k", f"actor_rollout_ref.model.{override}")
    set_worker_options(given)
    set_worker_options(given)
    assert given.actor_rollout_ref.model.external_lib == libraries


WORKER = f"""
import sys
from verl.utils import torch_functional
from verl.workers.config import HFModelConfig
before = torch_functional.logprobs_from_logits_v2
try:
    HFModelConfig(path="/no/such/model", external_lib=["{LOG_PROBS}"])  # which a worker makes before its engine
except Exception:  # of the model, which is none
    pass
print("REPLACED", torch_functional.logprobs_from_logits_v2 is not before, "{LOG_PROBS}" in sys.modules)
"""


def test_a_worker_has_them_before_its_model():
    env = os.environ | {"VERL_PLATFORM": "cpu"}
    done = subprocess.run([sys.executable, "-c", WORKER], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["REPLACED True True"], done.stderr[-3000:]
