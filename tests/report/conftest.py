"""Runs that a test makes, as the report groups them."""

from __future__ import annotations

import pytest
from report_runs import make_run

from cppo_verl.report.groups import group_runs
from cppo_verl.report.runs import read_run


@pytest.fixture
def grouped(tmp_path):
    """`grouped({"name": {option: value}, ...})`: the groups of runs made with these options."""

    def of(options: dict[str, dict]):
        return group_runs([read_run(make_run(tmp_path / name, **given)) for name, given in options.items()])

    return of
