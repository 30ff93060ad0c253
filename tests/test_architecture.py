"""The house: packages stand on floors, the public face needs no verl, the command is quick to answer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import cppo_verl

HEAVY = ("verl", "ray", "vllm", "torch", "transformers", "huggingface_hub")
"""What takes seconds to import."""
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""


def python(code: str, **kwargs) -> str:
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, **kwargs).stdout


def test_each_package_imports_from_lower_floors_only(repo):
    """The contract in pyproject.toml."""
    assert lint_imports(config_filename=str(repo / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_the_face_needs_no_verl():
    """With verl, Ray and vLLM unimportable: a step planned, pruned and allocated, and a completion scored."""
    done = python(
        BLOCK.format(blocked={"verl", "ray", "vllm", "transfer_queue"})
        + """
import numpy as np, torch
from cppo_verl import Allocator, CPPOConfig, plan_step, reward, select_completions
plan, options = plan_step("0.5", rollout_n=4, train_batch_size=2, ppo_mini_batch_size=2), CPPOConfig("0.5")
advantages = torch.tensor([2.0, -1.0, 0.5, 0.1] * plan.questions)
questions = np.repeat(np.arange(plan.questions), 4)
print(select_completions(advantages, questions, plan.keep).tolist())
allocator = Allocator(plan, options)
allocator.add(advantages, questions, np.arange(len(questions)).astype(str))
print(len(allocator.take().rows), plan.rows)
print(reward("gsm8k")("", "<think>a</think>\\n<answer>5</answer>", "5")["score"])
"""
    )
    assert done.splitlines() == ["[0, 1, 4, 5, 8, 9, 12, 13]", "8 8", "3.0"]


def test_the_face_names_what_it_has():
    assert set(cppo_verl.__all__) <= set(dir(cppo_verl))
    assert all(getattr(cppo_verl, name).__doc__ or name == "REWARDS" for name in cppo_verl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Alocator'"):
        cppo_verl.Alocator  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import cppo_verl",
        "from cppo_verl import CPPOConfig, plan_step",
        "from cppo_verl.cli import cli; cli(['--help'], standalone_mode=False)",
        "from cppo_verl.cli import cli; cli(['train', '--help'], standalone_mode=False)",
        "from cppo_verl.preflight import prepare",
    ],
)
def test_what_answers_at_once_imports_nothing_heavy(code):
    loaded = python(f"{code}\nimport sys; print('LOADED', *(set(sys.modules) & set({HEAVY!r})))")
    assert loaded.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cppo.pruning_rat=0.5", "unknown option cppo.pruning_rat; did you mean cppo.pruning_rate?"),
        ("cppo.pruning_rate=0.9", "P=0.9, G=16: k = G(1-P) = 1.6"),
        ("data.train_files=nowhere.parquet", "nowhere.parquet is not there"),
        ("actor_rollout_ref.model.path=/no/such/model", "no model at /no/such/model"),
    ],
)
def test_a_refusal_imports_nothing_heavy(override, says, tmp_path):
    """With torch, transformers and the hub's library unimportable; verl and vLLM are looked for, not imported."""
    code = BLOCK.format(blocked=set(HEAVY) - {"verl", "vllm"}) + (
        "from cppo_verl.cli import cli\n"
        f"cli(['train', 'recipe=gsm8k', 'device=cpu', 'trainer.default_local_dir={tmp_path}/run', {override!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1
    assert says in ended.stderr
