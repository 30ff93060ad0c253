"""Accuracy of a model or of a run's checkpoint on the benchmarks, with 95 % intervals.

cppo-verl evaluate model=MODEL [benchmarks=[gsm8k,math500]] [device=cpu] [key=value ...]

The options are explained in cppo_verl/evaluation/conf/evaluate.yaml.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.compose import run_with_config
from cppo_verl.console import open_console
from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.evaluation import benchmarks, prompts, results
from cppo_verl.evaluation.benchmarks import Benchmark, Protocol
from cppo_verl.evaluation.generate import Generator, Request
from cppo_verl.evaluation.models import Model, find_model
from cppo_verl.hardware.drivers import why_no_gpu
from cppo_verl.hardware.model_files import model_fault
from cppo_verl.hardware.trainable import engine_fault

CONFIG = Path(__file__).parent / "conf"


def evaluate(config: DictConfig, console: Console) -> dict[str, dict]:
    """Generate what is not there yet, score it, and write `results.json`.

    Returns:
        Results by benchmark.

    Raises:
        ConfigError: Something is wrong that can be known before the model is loaded.
    """
    if isinstance(config.benchmarks, str):
        config.benchmarks = [config.benchmarks]
    chosen = [benchmarks.find(name) for name in config.benchmarks]
    asked_by, told = prompts.choose_settings(config)
    requests = [request for benchmark in chosen for request in plan_requests(benchmark, config, asked_by)]
    check_device(config)
    model = find_model(config.model)
    if fault := model_fault(model.path) or engine_fault(model.path):
        raise ConfigError(f"model: {fault}")
    console.print(told, soft_wrap=True, markup=False)
    folder = out_folder(config, model)
    made_with = settings(config, model, requests, asked_by)
    log = results.GenerationsLog(folder, made_with)
    done = {f"{line['benchmark']}/{line['index']}/{line['sample']}" for line in log.done}
    if missing := [request for request in requests if request.key not in done]:
        generate(config, model, missing, len(done), log, console, asked_by)
    rows = log.read()
    found = {b.name: results.summarize(rows[rows["benchmark"] == b.name]) for b in chosen}
    for benchmark in chosen:
        asked = [request.question for request in requests if request.question.benchmark == benchmark.name]
        found[benchmark.name]["known_errors"] = {str(k): v for k, v in benchmarks.known_errors(asked).items()}
    results.write_json(
        folder / results.RESULTS,
        {"model": model.name, "settings": made_with, "prompts": told, "benchmarks": found},
    )
    console.print(results.table(found, model.name))
    for name, result in found.items():
        for row, error in result["known_errors"].items():
            console.print(f"{name}, row {row}: {error}", soft_wrap=True)
    console.print(f"results and generations: {folder}", soft_wrap=True)
    return found


def check_device(config: DictConfig) -> None:
    """Refuse to start vLLM on GPUs that are not there.

    Raises:
        ConfigError: Fewer GPUs than `engine.tensor_parallel_size`.
    """
    import torch

    there, asked = torch.cuda.device_count(), config.engine.tensor_parallel_size
    if config.on_gpu and there < asked:
        raise ConfigError(
            f"engine.tensor_parallel_size={asked} but torch sees {there} GPU(s){why_no_gpu(torch)}; "
            + (f"set engine.tensor_parallel_size={there}" if there else "device=cpu runs without one")
        )


def plan_requests(benchmark: Benchmark, config: DictConfig, asked_by: PromptSettings | None = None) -> list[Request]:
    """Every sample of every question of a benchmark, in the style of the prompt settings."""
    protocol = protocol_of(benchmark, config.sampling)
    questions = benchmarks.load_questions(benchmark, config.files.get(benchmark.name), config.limit)
    questions = prompts.asked(questions, benchmark, config, asked_by or PromptSettings())
    return [Request(question, sample, protocol) for question in questions for sample in range(protocol.samples)]


def protocol_of(benchmark: Benchmark, sampling: DictConfig) -> Protocol:
    """The benchmark's own, with what the config sets.

    Raises:
        ConfigError: Several greedy samples, which would all be the same, or numbers out of range.
    """
    names = (field.name for field in dataclasses.fields(Protocol))
    given = {name: sampling[name] for name in names if sampling[name] is not None}
    protocol = dataclasses.replace(benchmark.protocol, **given)
    if protocol.samples < 1 or protocol.temperature < 0 or not 0 < protocol.top_p <= 1:
        raise ConfigError(f"{protocol}: samples must be 1 or more, temperature 0 or more, top_p above 0 and at most 1")
    if protocol.samples > 1 and protocol.temperature == 0:
        raise ConfigError(f"sampling.samples={protocol.samples}: greedy samples are all the same; set a temperature")
    return protocol


def settings(config: DictConfig, model: Model, requests: list[Request], asked_by: PromptSettings | None = None) -> dict:
    """All that decides what is generated: an evaluation goes on only where it is the same."""
    # The style is in the questions' fingerprint.
    set_ = {name: value for name, value in (asked_by or PromptSettings()).as_dict().items() if name != "style"}
    asked: dict[str, list[Request]] = {}
    for request in requests:
        asked.setdefault(request.question.benchmark, []).append(request)
    return {
        "model": model.path,
        "weights": model.version,
        "benchmarks": {
            name: dataclasses.asdict(group[0].protocol)
            | {"num_questions": len(asked_once), "questions": benchmarks.fingerprint(asked_once)}
            for name, group in asked.items()
            for asked_once in [[request.question for request in group if not request.sample]]
        },
        "max_tokens": config.sampling.max_tokens,
        "seed": config.sampling.seed,
        "dtype": config.engine.dtype,
        **({"prompts": set_} if set_ else {}),
    }


def out_folder(config: DictConfig, model: Model) -> Path:
    """Where an evaluation is written."""
    if config.out:
        return Path(config.out).absolute()
    name = "+".join(config.benchmarks)
    if model.checkpoint:
        return model.checkpoint.parent / "eval" / model.checkpoint.name / name
    return Path("outputs/eval", model.name.replace("/", "--"), name).absolute()


def generate(
    config: DictConfig,
    model: Model,
    requests: list[Request],
    done: int,
    log: results.GenerationsLog,
    console: Console,
    asked_by: PromptSettings,
) -> None:
    """Generate and score what is missing, showing how far it is."""
    for name, value in config.environment.items():  # vLLM reads these when it is imported
        os.environ.setdefault(name, value)
    ids, opening = prompts.tokenized(model.path, requests, asked_by, config.sampling.max_tokens)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        total = done + len(requests)
        task = progress.add_task("starting vLLM", total=total, completed=done)
        engine_args = OmegaConf.to_container(config.engine)
        generator = Generator(model.path, ids, config.sampling.max_tokens, engine_args, opening)
        progress.update(task, description="completions")
        for completion in generator.generate(requests, config.sampling.seed):
            log.append([results.record(completion)])
            progress.advance(task)


def main(arguments: Sequence[str]) -> None:
    """Evaluate what a command line asks for."""
    run_with_config(lambda config: evaluate(config, open_console()), arguments, CONFIG, "evaluate")
