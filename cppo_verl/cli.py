"""The command `cppo-verl`. A package is imported when its subcommand is called, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
TARGET = click.option(
    "--target",
    type=click.FloatRange(1, 100),
    metavar="PERCENT",
    help="Accuracy, for the time to reach it.  [default: 95 % of what the first run ends at]",
)
HYDRA = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Of commands that hand their arguments on to Hydra."""


class Refusing(click.Group):
    """A group whose commands end with one line, and exit code 2, where what was asked for cannot be."""

    def invoke(self, context: click.Context):
        """Run the subcommand."""
        from cppo_verl.algorithm.errors import ConfigError

        try:
            return super().invoke(context)
        except ConfigError as error:
            click.echo(f"error: {error}", err=True)
            context.exit(2)


class HydraCommand(click.Command):
    """A command whose arguments are Hydra's, but for `--help`, which shows what a user would choose from."""

    def __init__(self, *args, primary: str, **kwargs):
        super().__init__(*args, context_settings=HYDRA, add_help_option=True, **kwargs)
        self.params.append(click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[KEY=VALUE]..."))
        self.primary = primary

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The config groups and options, instead of click's."""
        from cppo_verl.config.help import sections

        for title, rows in sections(self.primary, f"{context.command_path}"):
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=Refusing, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="cppo-verl")
def cli() -> None:
    """CPPO (Completion Pruning Policy Optimization, arXiv 2503.22342) on verl.

    \b
    cppo-verl doctor                                    is this machine ready?
    cppo-verl plan recipe=gsm8k cppo.pruning_rate=0.75  what would a run do?
    cppo-verl train recipe=gsm8k cppo.pruning_rate=0.75
    cppo-verl evaluate 'benchmarks=[gsm8k]' model=outputs/cppo/run
    """


@cli.command(cls=HydraCommand, primary="train")
def train(arguments: tuple[str, ...]) -> None:
    """Train with CPPO or GRPO."""
    from cppo_verl.train import main

    main(arguments)


@cli.command(cls=HydraCommand, primary="train")
def plan(arguments: tuple[str, ...]) -> None:
    """Check a run and print what it would do, without starting it."""
    from cppo_verl.train import main

    main([*arguments, "dry_run=true"])


@cli.command(cls=HydraCommand, primary="sft")
def sft(arguments: tuple[str, ...]) -> None:
    """Fine-tune on demonstrations: the warm start before reinforcement learning."""
    from cppo_verl.sft.command import main

    main(arguments)


@cli.command(cls=HydraCommand, primary="evaluate")
def evaluate(arguments: tuple[str, ...]) -> None:
    """Measure a model's or a checkpoint's accuracy on benchmarks."""
    from cppo_verl.evaluation.command import main

    main(arguments)


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
def compare(a: Path, b: Path) -> None:
    """Compare two evaluations question by question: A and B are their folders."""
    from cppo_verl.console import open_console
    from cppo_verl.evaluation.comparison import compare_folders, table

    open_console().print(table(compare_folders(a, b)))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the report.")
@TARGET
def report(runs: tuple[Path, ...], out: Path, target: float | None) -> None:
    """Write tables and curves of runs, from their folders alone: report.md, report.html, CSV and PNG.

    Ratios are to the first run; give GRPO first. Runs that differ only by seed make one row.
    """
    from cppo_verl.console import open_console
    from cppo_verl.report.make import make_report

    made = make_report(list(runs), out, open_console(), target)
    for remark in made.notes:
        click.echo(f"note: {remark}", err=True)
    for headline in made.headlines:
        click.echo(headline)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--n", type=click.IntRange(min=1), help="G, the completions per question, where the log does not tell.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def advise(run: Path, n: int | None, as_json: bool) -> None:
    """Say whether to prune, from the log of a GRPO run.

    RUN is a run's folder, a file of verl's file logger, or what verl printed. It need not be a run of this package.
    """
    from cppo_verl.report.advice.command import show_advice

    show_advice(run, n, as_json)


@cli.command()
@click.argument("name", metavar="STUDY")
@OVERRIDES
@click.option("--seeds", default=3, show_default=True, help="Runs per arm, with seeds from 1.")
@click.option("--questions", type=int, help="Questions to train on.  [default for the embedded task: 128]")
@click.option("--own-runs", is_flag=True, help="Take no run of another study: all times are of the same hours.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all of it.  [default: outputs/studies/STUDY]")
@TARGET
def study(name: str, overrides: tuple[str, ...], **options) -> None:
    """Run every arm of an ablation with every seed, then report.

    STUDY is the name of a file in recipe/cppo/studies, or a YAML file of your own. Without further options it trains
    the embedded task (`bash scripts/quickstart.sh` builds it), on the CPU where there is no GPU. At full size:
    cppo-verl study pruning_rate recipe=gsm8k device=gpu. Started again, it skips the runs that are complete.
    """
    from cppo_verl.studies.study import find_study

    find_study(name)  # before torch and the report's libraries are imported
    from cppo_verl.studies.command import start

    sys.exit(start(name, overrides=list(overrides), **options))


@cli.command()
@click.argument("overrides", nargs=-1, metavar="[P]... [KEY=VALUE]...")
@click.option("--geometry", help="small, qwen2.5-0.5b, -1.5b or -7b.  [default: by whether there is a GPU]")
@click.option("--rates", multiple=True, metavar="P [P]...", help="Pruning rates.  [default: the published ones]")
@click.option("--rounds", default=3, show_default=True, help="Runs per arm, the arms in turn.")
@click.option("--steps", default=4, show_default=True, help="Steps per run; the first is not measured.")
@click.option("--short", is_flag=True, help="Only GRPO, and each P with allocation: half the arms.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all of it.  [default: outputs/bench/GEOMETRY]")
def bench(overrides: tuple[str, ...], rates: tuple[str, ...], **options) -> None:
    """Time a step of CPPO beside one of GRPO, with random weights, forced lengths and rewards by chance.

    Writes bench.json and time_split.png. Started again, it skips the runs that are complete.
    """
    from cppo_verl.hardware.shapes import find_geometry

    if options["geometry"]:
        find_geometry(options["geometry"])  # before torch and the report's libraries are imported
    from cppo_verl.bench.command import bench as run_bench

    further = [value for value in overrides if "=" not in value]  # what follows the first of `--rates 0.5 0.75`
    if further and not rates:
        raise click.UsageError(f"{further[0]!r} is no KEY=VALUE; pruning rates follow --rates, a shape --geometry")
    own = [value for value in overrides if "=" in value]
    sys.exit(run_bench(rates=[*rates, *further] or None, overrides=own, **options))


@cli.command()
@click.option("--model", required=True, help="Folder, hub id, or a shape that the benchmark knows (qwen2.5-7b).")
@click.option("--gpus", type=int, required=True, help="Number of GPUs.")
@click.option("--memory", type=float, required=True, metavar="GIB", help="Memory per GPU.")
@click.option("--gpus-per-node", default=8, show_default=True)
@click.option("--prompt", default=512, show_default=True, metavar="TOKENS", help="Longest prompt.")
@click.option("--response", default=1024, show_default=True, metavar="TOKENS", help="Longest completion.")
@click.option("--critic", is_flag=True, help="PPO: a critic of the same size is trained too.")
@click.option("--flash-attn", "flash", is_flag=True, help="flash-attn is installed: longer rows are worth it.")
def fit(**asked) -> None:
    """Estimate which settings fit on your GPUs, printed as overrides for any recipe."""
    from cppo_verl.hardware.fit_command import show_fit

    show_fit(**asked)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, for a bug report.")
@click.option("--run", type=click.Path(path_type=Path), help="A run's folder, to look at as well.")
def doctor(as_json: bool, run: Path | None) -> None:
    """Look at what a first run stumbles over, and say what to do.

    The exit code is 1 where something would stop a run.
    """
    from cppo_verl.preflight.doctor import doctor as show_findings

    sys.exit(show_findings(as_json, run))


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("target", required=False, type=click.Path(path_type=Path))
def export(run: Path, target: Path | None) -> None:
    """Write a run's last checkpoint, or one global_step_N, as a Hugging Face model."""
    from cppo_verl.evaluation.models import export as export_model
    from cppo_verl.runs.checkpoints import find_checkpoint

    click.echo(export_model(find_checkpoint(run.absolute()), target and target.absolute()))


if __name__ == "__main__":
    cli()
