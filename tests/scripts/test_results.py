"""The docs show what the studies' CSV files hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from report_runs import make_run


@pytest.fixture
def results(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "scripts"))
    import results

    return results


@pytest.fixture
def tables(results):
    import result_tables

    return result_tables


def test_the_pages_show_what_was_measured(tables):
    for page in tables.PAGES:
        text = page.read_text()
        assert tables.with_tables(text) == text, f"{page}: run python scripts/results.py --tables"


def test_each_table_has_a_mark_around_it(tables):
    for page in tables.PAGES:
        text = page.read_text()
        assert len(tables.TABLE.findall(text)) == text.count("<!-- end -->"), page


def test_a_table_is_made_from_its_file(tables, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/time_split.csv").write_text("label,generation,critic,other\nGRPO,2.04,0,1\n")
    page = "before\n<!-- one/time_split -->\nold\n<!-- end -->\nafter"
    made = tables.with_tables(page, tmp_path)
    assert made.splitlines()[0] == "before" and made.splitlines()[-1] == "after"
    assert "| GRPO | 2.0 | 1.0 | 3.0 |" in made and "old" not in made
    assert tables.with_tables(made, tmp_path) == made


def test_the_parts_of_a_benchmark(tables, tmp_path):
    """GRPO in 2 s a question, all of it generation, and an arm in half of that."""
    phases = {"generation": 2.0} | dict.fromkeys([*list(tables.bench.PHASES)[1:], "other"], 0.0)
    spread = {"ratio": 1.0, "ratio low": 0.9, "ratio high": 1.1, "bound": 2.0, "reached": 0.5}
    arms = [{"arm": "GRPO", "seconds": 2.0} | spread | phases | {"memory": 1.25}]
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/bench.json").write_text(json.dumps({"arms": arms}))
    ratios, split, speeds = (tables.make(tmp_path / "bench", name).splitlines()[2] for name in tables.BENCH)
    assert ratios == "| GRPO | 2.000 | 1.00x [0.90, 1.10] | 2.00x | 50% |"
    assert split.startswith("| GRPO | 2.000 | 0.000 |") and speeds == "| GRPO | 1.2 GiB |"


def test_a_benchmark_takes_its_own_folder_and_publishes_its_files(results, monkeypatch, tmp_path):
    def run(command):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/ceiling.csv").write_text(" ".join(command[1:]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(results.subprocess, "run", run)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.run_benchmark("ceiling", tmp_path / "out") == 0
    asked = (tmp_path / "ceiling/ceiling.csv").read_text()
    assert asked == f"-m cppo_verl.bench.ceiling --out={tmp_path / 'out'}"


def test_a_published_report_has_no_html_page(results, tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("report.md", "report.html", "results.csv"):
        (tmp_path / "report" / name).write_text("x")
    results.publish(tmp_path / "report", tmp_path / "docs")
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["report.md", "results.csv"]


def test_options_of_studies_are_refused_with_the_quick_start(results, capsys):
    with pytest.raises(SystemExit):
        results.main(["quickstart", "cppo.metric=random"])
    assert "cppo.metric=random is of studies, quickstart takes none" in capsys.readouterr().err


def test_a_quick_start_that_fails_ends_the_script_with_its_code(results, monkeypatch, tmp_path):
    asked = []

    def run(command, env):
        asked.append((command[-1], env.get("ATEN_CPU_CAPABILITY")))
        return SimpleNamespace(returncode=3 * (len(asked) == 2))

    monkeypatch.setattr(results.subprocess, "run", run)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert results.main(["quickstart", "--seeds", "2"]) == 3
    assert asked == [("--seeds=2", None), ("--seeds=2", "avx2")]


def test_accuracies_over_instruction_sets(results, tables, tmp_path):
    """Per set and method, by hand: GRPO at 70, 80 and 90 %, so 80 +- 10; CPPO's only run at 60 %."""
    for isa in ("native", "AVX2"):
        for seed, end in enumerate((0.7, 0.8, 0.9)):
            make_run(tmp_path / isa / f"grpo{seed}", accuracies=(0.3, end), seed=seed)
        make_run(tmp_path / isa / "cppo", rate=0.5, steps=2, accuracies=(0.3, 0.6))
    table = results.over_instruction_sets({isa: tmp_path / isa for isa in ("native", "AVX2")})
    assert list(table["instructions"]) == ["native", "native", "AVX2", "AVX2"]
    shown = tables.accuracies(table)
    assert list(shown.loc[0])[1:] == ["GRPO", "3", "30.0", "80.0", "10.0", "70.0", "90.0"]
    assert list(shown.loc[3])[2:] == ["1", "30.0", "60.0", "-", "60.0", "60.0"]
