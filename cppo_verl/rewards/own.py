"""A reward function of the user's own: looked at without running it, and loaded."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Lock
from types import ModuleType

from cppo_verl.algorithm.errors import not_one_of

PACKAGE, FILE = "pkg://", "file://"
_loaded: dict[str, ModuleType] = {}
_lock = Lock()


def load(path: str, name: str) -> Callable:
    """The function of this name in a Python file or `pkg://a.module`, which runs the module's code once in a process.

    Raises:
        AttributeError: The module has none. Whatever the module's code raises.
    """
    with _lock:  # verl calls reward functions in threads
        if path not in _loaded:
            _loaded[path] = _module(path)
    return getattr(_loaded[path], name)


def _module(path: str) -> ModuleType:
    if path.startswith(PACKAGE):
        return import_module(_module_name(path))
    file = Path(path.removeprefix(FILE))
    spec = spec_from_file_location(f"reward_of_{file.stem}_{abs(hash(str(file.absolute())))}", file)
    if spec is None:
        raise ImportError(f"{file} is no Python file")
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:  # raised again; a module that was not run whole is none
        del sys.modules[spec.name]
        raise
    return module


def _module_name(path: str) -> str:
    return path.removeprefix(PACKAGE).replace("/", ".")


def function_fault(path: str, name: str) -> str | None:
    """Why there is no function of this name in a Python file or `pkg://a.module`; None where there is."""
    if path.startswith(PACKAGE):
        module = _module_name(path)
        if (spec := _spec(module)) is None:
            return f"there is no module {module} to import; give one that is installed, or a Python file"
        file = Path(spec.origin or "")
        if file.suffix != ".py":  # compiled, or a folder without code
            return None
    else:
        file = Path(path.removeprefix(FILE))
    if not file.is_file():
        return f"{file} is not there; give a Python file, or pkg://a.module"
    try:
        names = _names_in(ast.parse(file.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError, RecursionError) as error:
        return f"{file} cannot be read as Python: {error}"
    if names & {"*", "__getattr__"}:
        return None
    return next(not_one_of("name", name, sorted(names)), None) if names else f"{file} defines nothing"


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is; `importlib.util.find_spec` would import the packages above it."""
    top, *below = module.split(".")
    try:
        spec = find_spec(top)
        for end in range(len(below)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            full = ".".join([top, *below[: end + 1]])
            spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    except (ImportError, ValueError):  # no name that a module may have
        return None
    return spec


def _names_in(module: ast.Module) -> set[str]:
    """What a module's code gives a name to."""
    names = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imports = (node for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom))
    return names | {alias.asname or alias.name for node in imports for alias in node.names}
