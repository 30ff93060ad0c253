"""A reward function of the user's own is looked for without being run."""

import sys

import pytest

from cppo_verl.rewards.own import function_fault


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on the path that leaves a file behind where it is imported."""
    folder = tmp_path / "scores_of_mine"
    (folder / "inner").mkdir(parents=True)
    trap = f"open({str(tmp_path / 'imported')!r}, 'w')\n"
    for file in ("__init__.py", "inner/__init__.py"):
        (folder / file).write_text(trap)
    (folder / "inner" / "mine.py").write_text(trap + "def score(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "module", ["scores_of_mine.inner.mine", "scores_of_mine/inner/mine", "cppo_verl.rewards.gsm8k"]
)
def test_a_module_is_looked_at_without_being_imported(package, module):
    name = "compute_score" if "gsm8k" in module else "score"
    assert function_fault(f"pkg://{module}", name) is None
    assert "name='scor' is not one of" in function_fault(f"pkg://{module}", "scor")
    assert not (package / "imported").exists() and "scores_of_mine" not in sys.modules


@pytest.mark.parametrize(
    "module", ["no.such.module", "scores_of_mine.no", "scores_of_mine.inner.mine.score", "", ".", "a..b", "json.no"]
)
def test_a_module_that_is_not_there(package, module):
    assert "there is no module" in function_fault(f"pkg://{module}", "score")


def test_a_file_with_and_without_the_prefix(tmp_path):
    (tmp_path / "mine.py").write_text("def score(): pass")
    for prefix in ("", "file://"):
        assert function_fault(f"{prefix}{tmp_path}/mine.py", "score") is None
        assert "did you mean score?" in function_fault(f"{prefix}{tmp_path}/mine.py", "scores")
        assert "other.py is not there" in function_fault(f"{prefix}{tmp_path}/other.py", "score")


def test_what_cannot_be_read_from_the_outside_is_no_fault():
    assert function_fault("pkg://_json", "score") is None, "compiled"
    assert function_fault("pkg://sys", "score") is None, "built in"
