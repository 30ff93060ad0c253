"""The command: what it shows, what it hands on, what it refuses."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from command import cppo_verl

from cppo_verl import CPPOConfig
from cppo_verl.cli import cli
from cppo_verl.config.help import field_docs, first_sentence

COMMANDS = {
    "train",
    "plan",
    "sft",
    "evaluate",
    "compare",
    "report",
    "study",
    "bench",
    "fit",
    "doctor",
    "export",
    "advise",
}


def shown(*arguments: str) -> str:
    """What the command prints, 110 columns wide."""
    result = CliRunner().invoke(cli, arguments, prog_name="cppo-verl", terminal_width=110)
    assert result.exit_code == 0, result.output
    return result.output


def test_help_names_every_command():
    assert set(cli.commands) >= COMMANDS
    text = shown("--help")
    assert all(f"\n  {name}" in text for name in cli.commands)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(name):
    assert shown(name, "--help").startswith(f"Usage: cppo-verl {name}")


def test_help_of_train_shows_recipes_modes_and_options_on_a_screen(repo):
    text = shown("train", "--help")
    recipes = [path.stem for path in repo.glob("recipe/*/config/recipe/[!_]*.yaml")]
    modes = [path.stem for path in repo.glob("cppo_verl/config/mode/*.yaml")]
    assert recipes and all(f"\n  {name} " in text for name in recipes + modes)
    assert all(f"\n  {name}=" in text for name in field_docs(CPPOConfig))
    assert "--cfg job" in text
    assert len(text.splitlines()) <= 50


def test_every_option_says_what_it_is_in_a_sentence_that_fits():
    docs = field_docs(CPPOConfig)
    assert set(docs) == set(CPPOConfig.__dataclass_fields__)
    assert all(len(first_sentence(doc)) <= 80 for doc in docs.values())


def test_every_recipe_says_what_it_is(repo):
    from cppo_verl.config.help import chosen

    for group in ("recipe", "mode", "sft"):
        assert all(0 < len(about) <= 80 for _, about in chosen(group))


def test_hydras_own_options_pass_through(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cppo_verl("train", "recipe=ppo_math", "--cfg", "job", "--package", "critic.optim") == 0
    assert "lr: 1.0e-05" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("study", "pruning_rat"), "no study 'pruning_rat'"),
        (("bench", "--geometry", "large"), "no geometry 'large'; there are"),
        (("compare", "nowhere", "nowhere"), "nowhere is no evaluation's folder"),
        (("report", "nowhere", "--out", "out"), "error: nothing to report"),
        (("export", "nowhere"), "neither a model"),
        (("fit", "--model", "small", "--gpus", "0", "--memory", "8"), "--gpus 0 must be from 1"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(arguments, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cppo_verl(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error


def test_rates_are_given_as_before(monkeypatch):
    """`--rates 0.5 0.75 key=value`."""
    asked = {}
    monkeypatch.setattr("cppo_verl.bench.command.bench", lambda **options: asked.update(options) or 0)
    assert cppo_verl("bench", "--rates", "0.5", "0.75", "--rounds", "1", "device=cpu") == 0
    assert (asked["rates"], asked["rounds"], asked["overrides"]) == (["0.5", "0.75"], 1, ["device=cpu"])
    cppo_verl("bench")
    assert asked["rates"] is None
