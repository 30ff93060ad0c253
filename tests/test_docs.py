"""The docs hold what they promise: examples that run, links that lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from cppo_verl.rewards.own import function_fault


def example(repo: Path, mark: str, file: Path) -> Path:
    """The only Python block of docs/data.md that holds `mark`, in a file; of ten lines at the most."""
    blocks = re.findall(r"```python\n(.*?)```", (repo / "docs/data.md").read_text(), re.S)
    (code,) = [block for block in blocks if mark in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    file.write_text(code)
    return file


def test_a_data_set(repo: Path, shared_data: Path, tmp_path: Path) -> None:
    """LIMR in ten lines is what examples/data_preprocess/limr.py writes."""
    scripts = {"mine": example(repo, "LIMR", tmp_path / "mine.py"), "ours": repo / "examples/data_preprocess/limr.py"}
    for name, script in scripts.items():
        out = ("--local_dir", tmp_path / name, "--source", shared_data / "limr")
        subprocess.run([sys.executable, script, *out], check=True, cwd=repo)
    mine, ours = (pyarrow.parquet.read_table(tmp_path / name / "train.parquet").to_pylist() for name in scripts)
    assert len(mine) == 1389 and mine == ours


@pytest.mark.parametrize(("answer", "score", "acc"), [("72", 1.0, 1.0), ("71.5", 0.5, 0.0), ("70", 0.0, 0.0)])
def test_a_reward(repo: Path, tmp_path: Path, answer: str, score: float, acc: float) -> None:
    file = example(repo, "def compute_score", tmp_path / "nearly.py")
    assert function_fault(str(file), "compute_score") is None, "as a run looks for it"
    spec = importlib.util.spec_from_file_location("nearly", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.compute_score("", f"#### {answer}", "72") == {"score": score, "acc": acc}
    assert module.compute_score("", "72", "72")["score"] == 0


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_links(repo: Path) -> None:
    """To files of the clone, and to headings in them."""
    pages = [repo / "README.md", *sorted((repo / "docs").rglob("*.md")), *sorted((repo / "recipe").rglob("*.md"))]
    dead = []
    for page in pages:
        for to in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            path, _, heading = to.partition("#")
            file = (page.parent / path).resolve() if path else page
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if heading and file.exists() else []
            if not file.exists() or (heading and heading not in map(anchor, headings)):
                dead.append(f"{page.relative_to(repo)}: {to}")
    assert not dead


def test_every_page_is_listed_in_the_readme(repo: Path) -> None:
    """Or in a page that the README lists."""
    readme = (repo / "README.md").read_text()
    assert [page.name for page in (repo / "docs").glob("*.md") if f"docs/{page.name}" not in readme] == []
