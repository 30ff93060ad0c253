"""Write the reference pages that are made from the code: docs/options.md's table, docs/commands.md.

python scripts/reference.py
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.cli import cli
from cppo_verl.config.help import cppo_options, field_docs

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100
"""Of a command's help, in characters."""
HEAD = """# Commands

What `cppo-verl COMMAND --help` prints. `python scripts/reference.py` writes this page.
"""


def options(page: str) -> str:
    """The page with a table of the `cppo.*` options: name, default and docstring of each field."""
    docs, defaults = field_docs(CPPOConfig), (name.partition("=")[2].partition(":")[0] for name, _ in cppo_options())
    fields = zip(dataclasses.fields(CPPOConfig), defaults, strict=True)
    rows = [f"| `cppo.{field.name}` | `{default}` | {cell(docs[field.name])} |" for field, default in fields]
    table = "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])
    mark, end = "<!-- options -->", "<!-- end -->"
    return re.sub(f"{mark}.*?{end}", lambda _: f"{mark}\n{table}\n{end}", page, count=1, flags=re.DOTALL)


def cell(doc: str) -> str:
    """A docstring in a cell of a table."""
    return doc.replace("|", r"\|").rstrip(".")


def commands(_: str) -> str:
    """The page of the help of every command; `plan` takes what `train` takes."""
    sections = [HEAD]
    for name in ["", *cli.commands]:
        text = help_of(*filter(None, [name]))
        if name == "plan":
            text = "\n\n".join([*text.split("\n\n")[:2], "What can be given is as in cppo-verl train --help."])
        sections.append(f"## cppo-verl{f' {name}' if name else ''}\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


def help_of(*command: str) -> str:
    """As it is printed."""
    shown = CliRunner().invoke(cli, [*command, "--help"], prog_name="cppo-verl", terminal_width=WIDTH)
    return "\n".join(line.rstrip() for line in shown.output.strip().splitlines())


PAGES: dict[Path, Callable[[str], str]] = {DOCS / "options.md": options, DOCS / "commands.md": commands}
"""Each page, and what makes it of what it is now."""


def main() -> None:
    """Write them."""
    for page, make in PAGES.items():
        page.write_text(make(page.read_text() if page.exists() else ""))


if __name__ == "__main__":
    main()
