"""Name what this project needs and this Python lacks, where wheels were chosen by hand.

python scripts/missing_packages.py [gpu|cpu]

ends with exit code 1 where a package that this project names is not there: of a stack's packages any version will do.
What the others want of each other and lack is a note: they may get by without.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distributions, version

try:
    from packaging.requirements import Requirement
except ModuleNotFoundError:
    sys.exit("error: there is no wheel of packaging, which the others are looked for with")

PROJECT = "cppo-verl"


def requirements(name: str, extras: Collection[str] = ()) -> list[Requirement]:
    """What an installed package asks for, with these extras; this project in the metadata of its wheel or in those that
    an editable install may have left in the clone.

    Raises:
        PackageNotFoundError: It is not there.
    """
    found = list(distributions(name=name))
    if not found:
        raise PackageNotFoundError(name)
    lines = (line for of in found[: None if name == PROJECT else 1] for line in of.requires or [])
    asked = map(Requirement, dict.fromkeys(lines))
    return [need for need in asked if any(_holds(need, extra) for extra in ("", *extras))]


def missing(stack: str | None = None) -> list[str]:
    """What this project asks for and is not there.

    Args:
        stack: `gpu` or `cpu`: whose packages have to be there too, in whatever version.

    Raises:
        PackageNotFoundError: This project itself is not.
    """
    always = [str(need) for need in requirements(PROJECT) if not _is_met(need)]
    of_stack = [need for need in requirements(PROJECT, [stack] if stack else []) if not _holds(need, "")]
    return always + [f"{need.name}{need.specifier}" for need in of_stack if _version(need.name) is None]


def unmet_by_others(stack: str | None = None) -> list[str]:
    """What the packages below this project want of each other and lack, each as `NAME>=1 (OWNER)`."""
    found, seen, todo = [], set(), [(PROJECT, (stack,) if stack else ())]
    while todo:
        owner, extras = todo.pop()
        for need in requirements(owner, extras):
            if owner != PROJECT and not _is_met(need):
                found.append(f"{need.name}{need.specifier} ({owner})")
            below = need.name, tuple(sorted(need.extras))
            if below not in seen and _version(need.name) is not None:
                seen.add(below)
                todo.append(below)
    return sorted(set(found))


def _holds(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_met(need: Requirement) -> bool:
    found = _version(need.name)
    return found is not None and need.specifier.contains(found, prereleases=True)


def main(stack: str | None = None) -> None:
    """Print the note, and end with the error.

    Raises:
        SystemExit: Something is missing.
    """
    try:
        lacking, others = missing(stack), unmet_by_others(stack)
    except PackageNotFoundError:
        sys.exit(f"error: there are no wheels of {PROJECT} itself: python -m pip wheel --no-deps .")
    if others:
        print(f"note: what packages want of each other and lack: {', '.join(others)}")
    if lacking:
        sys.exit(f"error: there are no wheels of {', '.join(lacking)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
