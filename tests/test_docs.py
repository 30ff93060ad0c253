"""The docs hold what they promise: examples that run, links that lead somewhere, the code's own words."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet
import pytest
from omegaconf import OmegaConf

from cppo_verl.algorithm.options import CPPOConfig
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


def pages(repo: Path) -> list[Path]:
    """Every page of Markdown."""
    return [
        *sorted(repo.glob("*.md")),
        *(page for at in ("docs", "recipe") for page in sorted((repo / at).rglob("*.md"))),
    ]


def links(page: Path) -> list[tuple[str, Path, str]]:
    """To files of the clone: as it is written, the file, and the heading, if any."""
    written = re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text())
    parts = [(to, *to.split("#", 1)) if "#" in to else (to, to, "") for to in written]
    return [(to, (page.parent / path).resolve() if path else page, heading) for to, path, heading in parts]


def test_links(repo: Path) -> None:
    """To files of the clone, and to headings in them."""
    dead = []
    for page in pages(repo):
        for to, file, heading in links(page):
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if heading and file.exists() else []
            if not file.exists() or (heading and heading not in map(anchor, headings)):
                dead.append(f"{page.relative_to(repo)}: {to}")
    assert not dead


def test_every_page_is_found_from_the_readme(repo: Path) -> None:
    found, new = set(), {repo / "README.md"}
    while new:
        found |= new
        new = {file for page in new for _, file, _ in links(page) if file.suffix == ".md" and file.exists()} - found
    assert [str(page.relative_to(repo)) for page in pages(repo) if page not in found] == []


def test_reference_is_what_the_code_says(repo: Path) -> None:
    """docs/options.md's table, docs/commands.md."""
    spec = importlib.util.spec_from_file_location("reference", repo / "scripts/reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for page, make in reference.PAGES.items():
        text = page.read_text()
        # click's versions break lines at different places
        assert make(text).split() == text.split(), f"{page.name}: run python scripts/reference.py"


def test_defaults_are_those_of_the_config(repo: Path) -> None:
    """cppo_trainer.yaml's are CPPOConfig's, of which docs/options.md is made."""
    written = OmegaConf.load(repo / "cppo_verl/config/cppo_trainer.yaml").cppo
    assert OmegaConf.to_container(written) == asdict(CPPOConfig())
