"""One run on two ranks: Eq. 9, `zero_variance=drop` with further rounds, the best checkpoint, a resume from it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from eq_9 import OVERRIDES, STEPS, assert_steps_follow_eq_9
from recorded import different, read_metrics, weights
from runs import Runner, running, trainer

from cppo_verl.algorithm.metrics import validation_accuracy

DROP = "{pruning_rate:0.5,allocation:true,zero_variance:drop,max_gen_rounds:3}"
GRPO = "{pruning_rate:0,allocation:false}"
DROPPING, LAST = len(STEPS) + 1, len(STEPS) + 2
VALIDATED = [2, 4, LAST]
ALL_STEPS = (
    f"+own.cppo_by_step=[{','.join((*STEPS, DROP, GRPO))}]",
    "trainer.n_gpus_per_node=2",
    f"trainer.total_training_steps={LAST}",
    "trainer.save_freq=2",
    "trainer.max_actor_ckpt_to_keep=3",
    "trainer.test_freq=2",
    "cppo.save_best=true",
    *OVERRIDES,
)


@pytest.fixture(scope="module", params=["v0", pytest.param("v1", marks=pytest.mark.slow)])
def whole(request, repo, prefork, toy, tmp_path_factory) -> Path:
    """The folder of the run, undisturbed, in each generation of verl's trainers."""
    use_v1 = f"trainer.use_v1={request.param == 'v1'}"
    with running(repo, prefork) as runner:
        return trainer(runner, toy, tmp_path_factory.mktemp("two_ranks"))("whole", use_v1, *ALL_STEPS).folder


def test_each_rank_sees_its_half_and_together_they_follow_eq_9(whole, toy):
    assert_steps_follow_eq_9(whole, toy / "model", ranks=2, first_step=1)


def test_room_of_dropped_questions_goes_to_others(whole):
    """What a step with `zero_variance=drop` logs adds up: G = 4, k = 2, room for 16 rows, mini-batches of 8."""
    step = read_metrics(whole)[DROPPING]
    assert 1 <= step["cppo/rounds"] <= 3 and 8 <= step["cppo/questions"] <= 3 * 8
    assert step["cppo/completions_sampled"] == 4 * step["cppo/questions"]
    kept_by_the_rule = 2 * (step["cppo/questions"] - step["cppo/zero_variance_questions"])
    assert step["cppo/completions_kept"] + step["cppo/surplus"] == kept_by_the_rule
    assert step["cppo/completions_kept"] in (16, 12, 8, 6, 4, 2, 0), "in one or two mini-batches over two ranks"
    is_limit = step["cppo/rounds"] == 3 or step["cppo/questions"] == 3 * 8  # V1 has one round, of as many questions
    assert step["cppo/completions_kept"] == 16 or is_limit


def test_best_is_the_first_checkpoint_of_the_highest_accuracy(whole):
    """On the validation questions; no other checkpoint is kept beside it."""
    accuracies = {step: validation_accuracy(data) for step, data in read_metrics(whole).items()}
    assert [step for step, accuracy in accuracies.items() if accuracy is not None] == VALIDATED
    highest = max(accuracies[step] for step in VALIDATED)
    step = next(step for step in VALIDATED if accuracies[step] == highest)
    assert best(whole) == {"step": step, "accuracy": highest}
    assert [path.name for path in (whole / "best").glob("global_step_*")] == [f"global_step_{step}"]
    assert not different(weights(whole / "best", step), weights(whole, step))


def test_resumed_from_the_best_checkpoint_it_goes_on_as_if_undisturbed(whole, train, runner, tmp_path, request):
    """A run that lost all but its best checkpoint, of step 2, trains the others again: bit-identical weights,
    and the same metrics (V1 sums some of them in the order in which questions are finished).

    Then it loses a rollout engine, and ends by itself.
    """
    is_v1 = "v1" in request.node.callspec.id
    rounding, use_v1 = 1e-6 if is_v1 else 0, f"trainer.use_v1={is_v1}"
    folder = tmp_path / "resumed"
    shutil.copytree(whole, folder)
    keep_best_of_step_2(folder)
    for step in VALIDATED:
        shutil.rmtree(folder / f"global_step_{step}")
    resume = ("trainer.resume_mode=resume_path", f"trainer.resume_from_path={folder}/best/global_step_2")
    further = (f"+own.cppo_by_step=[{','.join((*STEPS, DROP, *[GRPO] * 95))}]", "trainer.total_epochs=100")
    longer = (*ALL_STEPS[1:], *further, "trainer.total_training_steps=100")
    killed = kill_engine_after(LAST, runner, folder)
    resumed = train("resumed", use_v1, *longer, *resume, meanwhile=killed, ok=False)

    assert "setting global step to 2\n" in resumed.output.lower()
    expected, found = read_metrics(whole), read_metrics(folder)
    assert list(found)[:LAST] == list(expected) == [*range(1, LAST + 1)]
    for step in expected:
        as_expected = pytest.approx(comparable(expected[step]), rel=rounding, abs=rounding)
        assert comparable(found[step]) == as_expected, f"step {step}"
    assert not different(weights(whole, LAST), weights(folder, LAST))
    assert best(folder) == best(whole)
    assert len(list((folder / "best").glob("global_step_*"))) == 1

    assert resumed.returncode != 0
    assert "EngineDead" in resumed.output or "the rollout engine at" in resumed.output


def kill_engine_after(step: int, runner: Runner, folder: Path) -> Callable[[Popen], None]:
    """SIGKILL to one of vLLM's engines once a step is saved and logged; the run must end by itself."""

    def is_over() -> bool:
        return (folder / f"global_step_{step}/complete.json").exists() and step in read_metrics(folder)

    def kill(run: Popen) -> None:
        while run.poll() is None and not is_over():
            time.sleep(0.2)
        engine = next(process for process in runner.processes() if process.name().startswith("VLLM::"))
        engine.kill()
        start = time.monotonic()
        run.wait(timeout=240)
        print(f"ended {time.monotonic() - start:.0f} s after the engine was killed")

    return kill


def best(folder: Path) -> dict:
    """The record of the best checkpoint."""
    return json.loads((folder / "best/best.json").read_text())


def keep_best_of_step_2(folder: Path) -> None:
    """Make `best` what it was at step 2, the first that was validated."""
    accuracy = validation_accuracy(read_metrics(folder)[2])
    shutil.rmtree(folder / "best")
    shutil.copytree(folder / "global_step_2", folder / "best/global_step_2")
    (folder / "best/best.json").write_text(json.dumps({"step": 2, "accuracy": accuracy}))


def comparable(step: dict) -> dict:
    """What does not depend on the clock, on the machine's memory or on how long the run is meant to be."""
    length, of_the_clock = ("cppo/planned_steps", "cppo/last_step"), ("timing", "perf/", "cppo/idle/")
    return {k: v for k, v in step.items() if not any(part in k for part in of_the_clock) and k not in length}
