"""Make the toy data and model: `python -m cppo_verl.toy.build --out DIR [--seed N]`.

Writes `DIR/raw/{train,test}.jsonl` (GSM8K's raw schema), `DIR/model/` (safetensors, float32) and, last,
`DIR/toy.json`: the settings, a hash of this package's source and the measured result. A folder whose stamp
matches is left as it is.
"""

import argparse
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from cppo_verl.toy.model import complete, new_model
from cppo_verl.toy.problems import Problem, distinct_problems, write_raw
from cppo_verl.toy.tokenizer import prompt_ids, save_tokenizer, train_tokenizer
from cppo_verl.toy.warmstart import WarmStart, completion, warm_start

STAMP = "toy.json"
THREADS = 2  # more only adds overhead to matrices this small
TOKENIZER_PROBLEMS = 600  # enough for every word to become one token


@dataclass(frozen=True)
class ToySettings:
    """Everything that decides what is built."""

    seed: int = 0
    """Of the problems, the initial weights and the demonstrations."""
    train: int = 2000
    """Training problems for RL."""
    test: int = 256
    """Test problems."""
    vocab: int = 640
    """Upper limit of the vocabulary; the default text needs about 500 tokens."""
    hidden: int = 128
    """Hidden size, a multiple of 64."""
    layers: int = 2
    """Transformer layers."""
    warm_start: WarmStart = field(default_factory=WarmStart)
    """The supervised training."""

    def stamp(self) -> dict[str, object]:
        """What a finished folder must have been made with."""
        source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
        return {"settings": asdict(self), "source": hashlib.sha256(source).hexdigest()}


def greedy_accuracy(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, problems: list[Problem]) -> float:
    """Share of `problems` whose greedy completion ends in the right `<answer>`."""
    ids = complete(model, [prompt_ids(tokenizer, problem.question) for problem in problems])
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    found = [re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)[-1:] for text in texts]
    gold = [[str(problem.reasoning()[1])] for problem in problems]
    return sum(f == g for f, g in zip(found, gold, strict=True)) / len(problems)


def build_model(folder: Path, settings: ToySettings, progress: Progress) -> dict[str, float]:
    """Train tokenizer and model into `folder`; returns the parameter count and the greedy test accuracy."""
    seed = settings.seed
    shown = distinct_problems("demo", TOKENIZER_PROBLEMS, seed)
    texts = [text for p in shown for text in (p.question, completion(*p.reasoning()))]
    tokenizer = save_tokenizer(train_tokenizer(texts, settings.vocab), folder, texts)
    model = new_model(tokenizer, settings.hidden, settings.layers, seed)
    task = progress.add_task("warm start", total=settings.warm_start.steps)
    warm_start(model, tokenizer, settings.warm_start, seed, lambda loss: progress.advance(task))
    model.save_pretrained(folder)
    accuracy = greedy_accuracy(model, tokenizer, distinct_problems("test", settings.test, seed))
    return {"parameters": model.num_parameters(), "greedy_test_accuracy": accuracy}


def build(out: Path, settings: ToySettings, console: Console) -> dict[str, float]:
    """Build whatever `out` lacks and return its result: `parameters`, `greedy_test_accuracy`."""
    stamp, wanted = out / STAMP, settings.stamp()
    if stamp.exists():
        made = json.loads(stamp.read_text(encoding="utf-8"))
        if {key: made.get(key) for key in wanted} == wanted:
            console.print(f"{out} is complete: nothing to do")
            return made["result"]
        stamp.unlink()  # from here on the folder is incomplete, also if this process is stopped
    write_raw(out / "raw", settings.train, settings.test, settings.seed)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        result = build_model(out / "model", settings, progress)
    stamp.write_text(json.dumps(wanted | {"result": result}, indent=2) + "\n", encoding="utf-8")
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the toy word problems and the toy model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for name in ("seed", "train", "test"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ToySettings, name))
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    settings = ToySettings(seed=args.seed, train=args.train, test=args.test)
    console = Console()
    result = build(args.out, settings, console)
    console.print(
        f"{args.out}: {settings.train} training and {settings.test} test problems; model of "
        f"{result['parameters']:,} parameters, greedy test accuracy {result['greedy_test_accuracy']:.3f}"
    )


if __name__ == "__main__":
    main()
