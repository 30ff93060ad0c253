"""GPU code that no test reached, by file and line: what only a GPU can show.

python tests/gpu_rehearsal/unreached.py COVERAGE_FILE

GPU code is what a condition on the device leads to, and what names CUDA, NCCL, NVML or handles of GPU memory: in this
package, and in the files of verl's that a run with `device=gpu` goes through. verl's code beside that runs on the CPU
too, in `tests/e2e`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

NAMES = re.compile(r"cuda|nccl|nvml|nvidia|(^|_)ipc(_|$)|^on_gpu$|^direct_send", re.ASCII)
"""Of names and strings: those that speak of a GPU."""
ON_CPU = {"chosen", "on_cpu"}
"""Calls that are true on the CPU: what is left where they are not is GPU code."""
OF_VERL = (
    *("workers/rollout/vllm_rollout/vllm_async_server.py", "workers/rollout/vllm_rollout/vllm_rollout.py"),
    *("workers/rollout/vllm_rollout/bucketed_weight_transfer.py", "workers/rollout/vllm_rollout/utils.py"),
    *("workers/engine/fsdp/transformer_impl.py", "workers/engine_workers.py", "single_controller/base/worker.py"),
    *("utils/distributed.py", "utils/fsdp_utils.py", "utils/device.py", "utils/torch_functional.py"),
    *("utils/memory_utils.py", "checkpoint_engine/nccl_checkpoint_engine.py", "plugin/platform/platform_cuda.py"),
)
"""What a run on GPUs goes through of verl 0.9.1."""


class Piece(NamedTuple):
    """A statement of GPU code."""

    first: int
    last: int
    where: str
    """The function or class that it is in."""


def find_pieces(body: Iterable[ast.stmt], where: str = "") -> Iterator[Piece]:
    """The GPU code of a block, in order: whole statements; what only holds others is gone into."""
    rest = iter(body)
    for statement in rest:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from find_pieces(statement.body, f"{where}.{statement.name}".strip("."))
        elif isinstance(statement, ast.If):
            if _asks_for_cpu(statement.test):
                yield from _pieces(statement.orelse, where)
                if isinstance(statement.body[-1], ast.Return | ast.Raise):
                    yield from _pieces(rest, where)
            elif _names_gpu(statement.test):
                yield from _pieces([*statement.body, *statement.orelse], where)
            else:
                yield from find_pieces([*statement.body, *statement.orelse], where)
        elif inner := _inside(statement):
            yield from find_pieces(inner, where)
        elif _names_gpu(statement) and not _is_text(statement):
            yield Piece(statement.lineno, statement.end_lineno, where)


def _pieces(statements: Iterable[ast.stmt], where: str) -> Iterator[Piece]:
    return (Piece(s.lineno, s.end_lineno, where) for s in statements if not isinstance(s, ast.Pass))


def _inside(statement: ast.stmt) -> list[ast.stmt]:
    """The blocks of a loop, a `with` or a `try`, as they stand in the file."""
    blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    blocks += [handler.body for handler in getattr(statement, "handlers", ())]
    return sorted((inner for block in blocks for inner in block), key=lambda inner: inner.lineno)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _asks_for_cpu(test: ast.expr) -> bool:
    return isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id in ON_CPU


def _names_gpu(node: ast.AST) -> bool:
    return any(NAMES.search(name) for inner in ast.walk(node) for name in _names(inner))


def _names(node: ast.AST) -> Iterator[str]:
    named = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name", ast.keyword: "arg", ast.Constant: "value"}
    value = getattr(node, named.get(type(node), ""), None)
    if isinstance(value, str):
        yield value


def unreached(file: Path, executed: set[int]) -> list[Piece]:
    """Pieces that no test reached; those without a line between them, in one function, are one."""
    found: list[Piece] = []
    for piece in find_pieces(ast.parse(file.read_text()).body):
        if not executed.isdisjoint(range(piece.first, piece.last + 1)):
            continue
        before = found[-1] if found else None
        if before and before.where == piece.where and piece.first <= before.last + 1:
            found[-1] = before._replace(last=piece.last)
        else:
            found.append(piece)
    return found


def main(data_file: str) -> None:
    """Print the list."""
    from coverage import CoverageData

    data = CoverageData(data_file)
    data.read()
    own, verl = (Path(find_spec(name).submodule_search_locations[0]) for name in ("cppo_verl", "verl"))
    for file in [*sorted(own.rglob("*.py")), *(verl / name for name in OF_VERL)]:
        lines, base = file.read_text().splitlines(), (own if file.is_relative_to(own) else verl).parent
        for piece in unreached(file, set(data.lines(str(file)) or ())):
            span = f"{piece.first}" if piece.first == piece.last else f"{piece.first}-{piece.last}"
            place = f"{file.relative_to(base)}:{span}"
            print(f"{place:<72} {piece.where or 'module'}: {lines[piece.first - 1].strip()[:70]}")


if __name__ == "__main__":
    main(sys.argv[1])
