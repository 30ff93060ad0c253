"""What the end-to-end tests share: the embedded default, GSM8K's rows, and what starts runs on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from omegaconf import DictConfig
from prefork import Prefork, preforking
from rich.console import Console
from runs import Run, Runner, running, trainer

from cppo_verl.data.prepare import main as prepare
from cppo_verl.studies.quickstart import TOY
from cppo_verl.toy.build import ToySettings, build
from cppo_verl.toy.warmstart import WarmStart

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default, hardly trained: enough for rewards that differ within a question."""
    folder = tmp_path_factory.mktemp("toy")
    build(folder, ToySettings(train=64, test=16, warm_start=WarmStart(steps=80)), Console(quiet=True))
    source = ("--source", str(folder / "raw"), "--no-system-prompt", "--validation", "16")
    prepare(TOY, "", ["--local_dir", str(folder), *source])
    return folder


@pytest.fixture(scope="session")
def gsm8k(data_sets: Path, toy: Path) -> Path:
    """Problems in GSM8K's raw form: the published ones, or the embedded default's where they are missing."""
    return data_sets / "gsm8k" if data_sets.is_dir() else toy / "raw"


@pytest.fixture(scope="session")
def prefork(compose_config: Callable[..., DictConfig]) -> Iterator[Prefork | None]:
    """What runs start as forks of; `CPPO_TEST_PREFORK=off` starts each process by itself."""
    if os.environ.get("CPPO_TEST_PREFORK") == "off":
        yield None
        return
    variables = compose_config("recipe=toy", "device=cpu").ray_kwargs.ray_init.runtime_env.env_vars
    with TemporaryDirectory(prefix="fork") as folder, preforking(Path(folder), variables) as prefork:
        yield prefork


@pytest.fixture
def runner(repo: Path, prefork: Prefork | None) -> Iterator[Runner]:
    """What starts the runs of one test."""
    with running(repo, prefork) as runner:
        yield runner


@pytest.fixture
def train(runner: Runner, toy: Path, tmp_path: Path) -> Callable[..., Run]:
    """What trains in one test; see `trainer`."""
    return trainer(runner, toy, tmp_path)


@pytest.fixture
def evaluate(runner, toy, tmp_path):
    """`evaluate("name", "key=value", ...)`: an evaluation of the embedded default; returns its folder."""

    def start(name: str, *overrides: str, **kwargs) -> Path:
        command = [sys.executable, "-m", "cppo_verl", "evaluate", "device=cpu", "benchmarks=[toy]"]
        own = (f"+files.toy={toy}/test.parquet", f"model={toy}/model", f"out={tmp_path}/{name}")
        runner([*command, "sampling.max_tokens=64", *own, *overrides], tmp_path / f"{name}_log", **kwargs)
        return tmp_path / name

    return start
