"""Which methods of verl's classes ours override, read from the sources: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

OURS = Path(__file__).parents[2] / "cppo_verl"
FOLDERS = ("cpu", "trainer", "weight_sync", "evaluation", "sft", "studies", "bench")
"""Of our package: those that may import verl."""


class Override(NamedTuple):
    """A method of ours that stands before one of verl's."""

    file: str
    """Below our package."""
    owner: str
    method: str
    wraps: bool
    """Whether verl's is called, by `super()`."""


@dataclass(frozen=True)
class Class:
    """A class as it is written."""

    module: str
    name: str
    bases: tuple[tuple[str, str], ...]
    """Name and, where it is imported, the module that it is imported from."""
    methods: dict[str, bool]
    """Name to whether it calls the same of `super()`."""


def overrides() -> set[Override]:
    """Every method of ours that, in some class of ours, stands before one that a class of verl's defines; constructors
    are left out."""
    found = set()
    for made in read(OURS, "cppo_verl", FOLDERS):
        line = list(ancestors(made))
        theirs = {method for of in line if of.module.startswith("verl.") for method in of.methods}
        for ours in (of for of in line if of.module.startswith("cppo_verl.")):
            file = ours.module.removeprefix("cppo_verl.").replace(".", "/") + ".py"
            shared = {method: wraps for method, wraps in ours.methods.items() if method in theirs - {"__init__"}}
            found |= {Override(file, ours.name, method, wraps) for method, wraps in shared.items()}
    return found


def has(owner: str, name: str) -> bool:
    """Whether a class of verl's, or a module by its last name, has this method or function."""
    package = Path(find_spec("verl").submodule_search_locations[0])
    modules = [file for file in package.rglob(f"{owner}.py") if f"\ndef {name}(" in file.read_text()]
    return bool(modules) or any(name in of.methods for of in verl() if of.name == owner)


def ancestors(made: Class) -> Iterator[Class]:
    """The class, and all that it is derived from, of ours and of verl."""
    yield made
    for base, module in made.bases:
        known = [of for of in (*read(OURS, "cppo_verl", FOLDERS), *verl()) if of.name == base]
        near = [of for of in known if of.module == (module or made.module)] or [
            of for of in known if module and of.module.startswith(module)
        ]
        if near:
            yield from ancestors(near[0])


@cache
def verl() -> list[Class]:
    """verl's classes."""
    return read(Path(find_spec("verl").submodule_search_locations[0]), "verl", ("",))


@cache
def read(package: Path, name: str, folders: tuple[str, ...]) -> list[Class]:
    """The classes of a package's files."""
    files = sorted(file for folder in folders for file in (package / folder).rglob("*.py"))
    return [made for file in files for made in classes(file, module_of(file, package, name))]


def module_of(file: Path, package: Path, name: str) -> str:
    """By which it is imported."""
    parts = (name, *file.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def classes(file: Path, module: str) -> Iterator[Class]:
    """Of one file, wherever in it."""
    tree = ast.parse(file.read_text())
    imported, aliases = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            where = ".".join([*base, *([node.module] if node.module else [])])
            imported |= {alias.asname or alias.name: (alias.name, where) for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names = [of.id for of in ast.walk(node.value) if isinstance(of, ast.Name)]
            aliases[node.targets[0].id] = names[0] if names else ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [aliases.get(of.id, of.id) for of in node.bases if isinstance(of, ast.Name)]
            bases = tuple(imported.get(base, (base, "")) for base in bases)
            defined = [of for of in node.body if isinstance(of, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield Class(module, node.name, bases, {of.name: calls_super(node, of.name) for of in defined})


def calls_super(made: ast.ClassDef, method: str) -> bool:
    """Whether a class calls, or reads, a method of `super()`, in whichever method of its own."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == method
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "super"
        for node in ast.walk(made)
    )
