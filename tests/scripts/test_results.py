"""The docs show what the studies' CSV files hold."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
from report_runs import make_run


@pytest.fixture(scope="module")
def results(repo):
    spec = importlib.util.spec_from_file_location("results_script", repo / "scripts/results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_show_the_csv_files(results):
    for page in results.PAGES:
        text = page.read_text()
        assert results.with_tables(text) == text, f"{page}: run python scripts/results.py --tables"


def test_a_table_is_made_from_its_file(results, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/time_split.csv").write_text("label,generation,critic,other\nGRPO,2.04,0,1\n")
    page = "before\n<!-- one/time_split -->\nold\n<!-- end -->\nafter"
    made = results.with_tables(page, tmp_path)
    assert made.splitlines()[0] == "before" and made.splitlines()[-1] == "after"
    assert "| GRPO | 2.0 | 1.0 | 3.0 |" in made and "old" not in made
    assert results.with_tables(made, tmp_path) == made


def test_a_published_report_has_no_html_page(results, tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("report.md", "report.html", "results.csv"):
        (tmp_path / "report" / name).write_text("x")
    results.publish(tmp_path / "report", tmp_path / "docs")
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["report.md", "results.csv"]


def test_options_of_studies_are_refused_with_the_quick_start(results, capsys):
    with pytest.raises(SystemExit):
        results.main(["quickstart", "cppo.metric=random"])
    assert "cppo.metric=random is of studies" in capsys.readouterr().err


def test_a_quick_start_that_fails_ends_the_script_with_its_code(results, monkeypatch, tmp_path):
    asked = []

    def run(command, env):
        asked.append((command[-1], env.get("ATEN_CPU_CAPABILITY")))
        return SimpleNamespace(returncode=3 * (len(asked) == 2))

    monkeypatch.setattr(results.subprocess, "run", run)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert results.main(["quickstart", "--seeds", "2"]) == 3
    assert asked == [("--seeds=2", None), ("--seeds=2", "avx2")]


def test_accuracies_over_instruction_sets(results, tmp_path):
    """Per set and method, by hand: GRPO at 70, 80 and 90 %, so 80 +- 10; CPPO's only run at 60 %."""
    for isa in ("native", "AVX2"):
        for seed, end in enumerate((0.7, 0.8, 0.9)):
            make_run(tmp_path / isa / f"grpo{seed}", accuracies=(0.3, end), seed=seed)
        make_run(tmp_path / isa / "cppo", rate=0.5, steps=2, accuracies=(0.3, 0.6))
    table = results.over_instruction_sets({isa: tmp_path / isa for isa in ("native", "AVX2")})
    assert list(table["instructions"]) == ["native", "native", "AVX2", "AVX2"]
    shown = results.accuracies(table)
    assert list(shown.loc[0])[1:] == ["GRPO", "3", "30.0", "80.0", "10.0", "70.0", "90.0"]
    assert list(shown.loc[3])[2:] == ["1", "30.0", "60.0", "-", "60.0", "60.0"]
