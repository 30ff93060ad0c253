"""The benchmarks: where their rows are, how they are scored, how they are sampled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.data.check import RowsError, read_rows
from cppo_verl.data.prompts import GSM8K_SYSTEM, MATH_SYSTEM, ask, style_of
from cppo_verl.rewards import gsm8k, gsm8k_hash, math, math_boxed, olympiad


@dataclass(frozen=True)
class Protocol:
    """How completions are sampled."""

    samples: int = 1
    """Completions a question."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0


GREEDY = Protocol()
FOUR_SAMPLES = Protocol(samples=4, temperature=0.6, top_p=0.95)
"""Mean pass@1 of four samples, for sets too small for one."""


@dataclass(frozen=True)
class Benchmark:
    """One set of test questions."""

    name: str
    file: str
    """Parquet file in verl's row schema, as the preparation script writes it."""
    prepare: str
    """Command that writes it."""
    rewards: object
    """Module of the reward that the recipes train with: `compute_score` and `extract_answer`."""
    protocol: Protocol = GREEDY
    """As published (paper §4.1)."""
    styles: Mapping[str, object] = field(default_factory=dict)
    """Other styles (`prompts.style_of`) that its questions can be asked in, to their rewards."""
    system: str = MATH_SYSTEM
    """System message of the style `tags`."""


def _script(name: str, folder: str, *options: str) -> str:
    return " ".join((f"python examples/data_preprocess/{name}.py --local_dir data/{folder}", *options))


OF_NUMBERS = {"tags": gsm8k, "none": gsm8k, "hash": gsm8k_hash, "boxed": math_boxed}
OF_FORMULAS = {"tags": math, "none": math, "boxed": math_boxed}
OF_OLYMPIADS = {"tags": olympiad, "none": olympiad}

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            *("gsm8k", "data/gsm8k/test.parquet", _script("gsm8k", "gsm8k"), gsm8k),
            styles=OF_NUMBERS,
            system=GSM8K_SYSTEM,
        ),
        Benchmark(
            *("math500", "data/math/test.parquet", _script("math_dataset", "math"), math),
            styles=OF_FORMULAS,
        ),
        Benchmark("amc23", "data/amc23/test.parquet", _script("amc23", "amc23"), math, FOUR_SAMPLES, OF_FORMULAS),
        Benchmark("aime24", "data/aime24/test.parquet", _script("aime24", "aime24"), math, FOUR_SAMPLES, OF_FORMULAS),
        Benchmark(
            *("olympiadbench", "data/olympiadbench/test.parquet", _script("olympiadbench", "olympiadbench"), olympiad),
            styles=OF_OLYMPIADS,
        ),
        Benchmark(
            "gsm8k_hash", "data/gsm8k_hash/test.parquet", _script("gsm8k", "gsm8k_hash", "--style hash"), gsm8k_hash
        ),
        Benchmark(
            "math500_boxed",
            "data/math_boxed/test.parquet",
            _script("math_dataset", "math_boxed", "--style boxed"),
            math_boxed,
        ),
        Benchmark(
            *("toy", "outputs/quickstart/toy/test.parquet", "bash scripts/quickstart.sh", gsm8k),
            styles={"none": gsm8k, "hash": gsm8k_hash},
        ),
    )
}
"""By name; `gsm8k_hash` and `math500_boxed` are asked in that style alone, `toy` is the embedded default's."""


@dataclass(frozen=True)
class Question:
    """One test question."""

    benchmark: str
    index: int
    """Row of the benchmark's file, from 0."""
    messages: list[dict[str, str]]
    """The chat that asks it."""
    data_source: str
    gold: str
    extra_info: dict
    rewards: object
    """Module of its reward: `compute_score`, and `extract_answer`, by which votes are counted."""


def find(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmarks: there is no {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_questions(benchmark: Benchmark, file: str | None = None, limit: int | None = None) -> list[Question]:
    """The questions of a benchmark.

    Args:
        benchmark: Which.
        file: Another parquet file than the benchmark's.
        limit: Only the first so many.

    Raises:
        ConfigError: The file is missing, or has rows on which a run could not be validated.
    """
    path = Path(file or benchmark.file).expanduser()
    if not path.is_file():
        raise ConfigError(f"{benchmark.name}: {path} is not there; run: {benchmark.prepare}")
    try:
        read_rows(path)
    except RowsError as error:
        raise ConfigError(f"{benchmark.name}: {error}" + ("" if file else f"; run: {benchmark.prepare}")) from error
    rows = pd.read_parquet(path)
    return [
        Question(
            benchmark=benchmark.name,
            index=index,
            messages=[dict(message) for message in row["prompt"]],
            data_source=row["data_source"],
            gold=row["reward_model"]["ground_truth"],
            extra_info=row.get("extra_info") or {},
            rewards=benchmark.rewards,
        )
        for index, row in enumerate(rows.head(limit if limit is not None else len(rows)).to_dict("records"))
    ]


def in_style(questions: list[Question], benchmark: Benchmark, style: str) -> list[Question]:
    """A benchmark's questions, asked in a style, and scored by its reward; as they are where they ask in it already.

    Raises:
        ConfigError: There is no reward for the style, or a file does not hold the questions apart from their prompts.
    """
    if all(style_of(question.messages) == style for question in questions):
        return questions
    if style not in benchmark.styles:
        there = ", ".join(benchmark.styles) or style_of(questions[0].messages)
        raise ConfigError(f"data.style={style}: {benchmark.name} has no reward for this style; there are {there}")
    if not all(question.extra_info.get("question") for question in questions):
        raise ConfigError(
            f"data.style={style}: the file of {benchmark.name} has no extra_info.question to ask so; prepare it with "
            f"--style {style}"
        )
    written = None if style == "none" else style
    return [
        replace(
            question,
            messages=ask(question.extra_info["question"], written, benchmark.system),
            rewards=benchmark.styles[style],
        )
        for question in questions
    ]


def known_errors(questions: list[Question]) -> dict[int, str]:
    """What preparation knows of golds that are wrong or open, by row; see its option `--known-errors`."""
    told = {question.index: question.extra_info.get("known_error") for question in questions}
    return {index: error for index, error in told.items() if error}


def fingerprint(questions: list[Question]) -> str:
    """A digest of what is asked and what is right: equal for equal sets."""
    content = json.dumps([(q.benchmark, q.messages, q.gold, q.extra_info) for q in questions], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
