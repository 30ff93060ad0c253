"""Name what this project needs and this Python lacks, with exit code 1: where wheels were chosen by hand.

python scripts/missing_packages.py
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distributions, version

from packaging.requirements import Requirement

PROJECT = "cppo-verl"


def missing() -> list[str]:
    """The requirements of `cppo-verl`, without its extras, that are not met: of the wheel, and of the metadata that an
    editable install may have left in the clone.

    Raises:
        PackageNotFoundError: There is neither.
    """
    found = list(distributions(name=PROJECT))
    if not found:
        raise PackageNotFoundError(PROJECT)
    wanted = [Requirement(line) for line in dict.fromkeys(line for of in found for line in of.requires or [])]
    wanted = [need for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    return [str(need) for need in wanted if not _is_met(need)]


def _is_met(need: Requirement) -> bool:
    try:
        return need.specifier.contains(version(need.name), prereleases=True)
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    try:
        lacking = missing()
    except PackageNotFoundError:
        lacking = [f"{PROJECT} itself: python -m pip wheel --no-deps ."]
    if lacking:
        sys.exit(f"error: there are no wheels of {', '.join(lacking)}")
