"""A reward function of the user's own, looked at without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from cppo_verl.config import not_one_of


def function_fault(path: str, name: str) -> str | None:
    """Why there is no function of this name in a Python file; None where there is, and for `pkg://a.module`."""
    if path.startswith("pkg://"):
        return None
    if not Path(path).is_file():
        return f"{path} is not there; give a Python file, or pkg://a.module"
    try:
        names = _names_in(ast.parse(Path(path).read_text(encoding="utf-8")))
    except (SyntaxError, UnicodeDecodeError) as error:
        return f"{path} cannot be read as Python: {error}"
    if "*" in names:
        return None
    return next(not_one_of("name", name, sorted(names)), None) if names else f"{path} defines nothing"


def _names_in(module: ast.Module) -> set[str]:
    """What a module's code gives a name to."""
    names = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imports = (node for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom))
    return names | {alias.asname or alias.name for node in imports for alias in node.names}
