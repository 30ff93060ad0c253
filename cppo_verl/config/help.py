"""What `--help` shows of a command whose options are a config's: what can be chosen, and CPPO's own options."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from textwrap import dedent
from typing import Literal, get_args, get_origin, get_type_hints

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.config.sources import PACKAGE, choices

Rows = list[tuple[str, str]]
Section = tuple[str, Rows]
"""A title, and what stands under it."""
DEVICE: Section = ("Device", [("device=cpu", "the same stack on a machine without a GPU")])


def sections(primary: str, command: str) -> Iterator[Section]:
    """Title and rows of each part of a command's help.

    Args:
        primary: `train`, `sft` or `evaluate`.
        command: As it was called, for the examples.
    """
    if primary == "train":
        yield "Recipes (recipe=NAME)", chosen("recipe")
        yield "Modes (mode=NAME)", chosen("mode")
        yield "CPPO's options (cppo.NAME=VALUE)", cppo_options()
        yield DEVICE
        yield whole(command, "recipe=gsm8k", "actor_rollout_ref.actor", "verl's 500 other options")
    elif primary == "sft":
        yield "Recipes (sft=NAME)", chosen("sft")
        yield DEVICE
        yield whole(command, "sft=grpo_plus", "optim", "all other options, which are verl's")
    else:
        yield "Options (NAME=VALUE)", commented(PACKAGE / "evaluation/conf/evaluate.yaml")
        yield DEVICE
        yield whole(command, "", "sampling", "all of them as they stand")


def whole(command: str, choice: str, package: str, what: str) -> Section:
    """How to see the rest."""
    called = " ".join(filter(None, [command, choice]))
    return (
        f"To see {what} (nothing is started)",
        [(f"{called} --cfg job", "the whole config"), (f"{called} --cfg job --package {package}", "a part of it")],
    )


def chosen(group: str) -> Rows:
    """The members of a config group, each with what its comment begins with."""
    return [(path.stem, comment(path)) for path in choices(group)]


def comment(path: Path) -> str:
    """The first sentence of a YAML file's opening comment, without the `GROUP=NAME:` that some begin with."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    text = " ".join(line.lstrip("# ") for line in lines if "@package" not in line)
    return first_sentence(text.partition("`: ")[2] or text)


def cppo_options() -> Rows:
    """CPPO's options with their defaults: the first sentence of each docstring in `CPPOConfig`, and the choices."""
    docs, kinds = field_docs(CPPOConfig), get_type_hints(CPPOConfig)
    words = {"True": "true", "False": "false", "None": "null"}
    rows = []
    for field in dataclasses.fields(CPPOConfig):
        default, kind = str(field.default), kinds[field.name]
        choices = f": {', '.join(get_args(kind))}" if get_origin(kind) is Literal else ""
        rows.append((f"{field.name}={words.get(default, default)}", first_sentence(docs[field.name]) + choices))
    return rows


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a class, on one line."""
    body = ast.parse(dedent(inspect.getsource(cls))).body[0].body
    pairs = pairwise(body)
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
    }


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence."""
    return text.partition(". ")[0].rstrip(".")


def commented(path: Path) -> Rows:
    """Top-level keys of a YAML file that stand under a comment, and the comment."""
    rows: Rows = []
    above: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("# "):
            above.append(line.removeprefix("# "))
            continue
        if above and line and not line.startswith((" ", "defaults")):
            rows.append((line.partition(":")[0], " ".join(above)))
        above = []
    return rows
