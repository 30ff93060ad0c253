"""What Hydra would refuse is reported in one line, with the nearest that works."""

from pathlib import Path

import pytest
from command import cppo_verl

import cppo_verl.sft as sft_package
from cppo_verl.config.hints import refusal
from cppo_verl.config.sources import TRAINER
from cppo_verl.evaluation.command import CONFIG as EVALUATION

SFT = Path(sft_package.__file__).parent / "conf"


def test_the_nearest_key_is_named_for_one_that_is_not_there():
    given = ["cppo.prunning_rate=0.5", "data.train_batchsize=8", "trainer.save_freq=5", "+my.own=1", "batchsize=2"]
    first, second, _ = refusal(["recipe=gsm8k", "device=cpu", *given], TRAINER, "cppo_trainer")
    assert first == "unknown option cppo.prunning_rate; did you mean cppo.pruning_rate?"
    assert second == "unknown option data.train_batchsize; did you mean data.train_batch_size?"
    assert refusal(["sft=grpo_plus", "data.max_lenght=5"], SFT, "sft") == [
        "unknown option data.max_lenght; did you mean data.max_length?"
    ]


def test_an_unknown_choice_lists_those_there_are():
    (says,) = refusal(["recipe=gsm9k"], TRAINER, "cppo_trainer")
    assert says.startswith("no recipe gsm9k (there are gsm8k, ") and says.endswith("; did you mean gsm8k?")
    assert "ppo_math" in says and "grpo_plus" in says and "_tuning," not in says


def test_recipes_of_ones_own_are_found_beside_the_shipped(tmp_path):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/mine.yaml").write_text("# @package _global_\ncppo: {pruning_rate: 0.5}\n")
    assert refusal(["--config-dir", str(tmp_path), "recipe=mine", "mode=save_best"], TRAINER, "cppo_trainer") == []
    assert refusal(["recipe=mine"], TRAINER, "cppo_trainer") != []


@pytest.mark.parametrize("argument", ["model_engine=megatron", "recipe=math", "~cppo.seed", "+new.key=1", "--cfg=job"])
def test_what_hydra_takes_is_not_refused(argument):
    assert refusal([argument], TRAINER, "cppo_trainer") == []


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("recipie=gsm8k", "unknown option recipie; did you mean recipe?"),
        ("xyzzy=3", "unknown option xyzzy"),
        ("foo", "foo is no option; give NAME=VALUE"),
        ("--nosuch", "--nosuch has a flag that this command does not know; see --help"),
    ],
)
def test_a_slip_is_a_line(argument, says, capsys):
    assert refusal([argument], TRAINER, "cppo_trainer") == [says]
    assert capsys.readouterr() == ("", "")


def test_an_evaluation_has_a_model_of_its_own():
    """verl has a config group of this name, which is not searched here."""
    assert refusal(["model=/some/where", "benchmarks=[toy]", "device=cpu"], EVALUATION, "evaluate") == []
    assert refusal(["modl=/some/where"], EVALUATION, "evaluate") == ["unknown option modl; did you mean model?"]


def test_the_warm_start_finds_its_recipes(capsys):
    assert cppo_verl("sft", "sft=grpo_plus", "--cfg", "job", "--package", "model") == 0
    assert "Qwen/Qwen2.5-Math-1.5B" in capsys.readouterr().out
