"""Models of other families than Qwen2.5's, two layers each: taken, or refused with their name and the cause."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from families import POSITIONS, TEXT, WITH_IMAGES, write_family, write_with_images
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl_rows import write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.evaluation.benchmarks import GREEDY, Question
from cppo_verl.evaluation.generate import Request
from cppo_verl.evaluation.prompts import tokenized
from cppo_verl.hardware.estimates import read_model
from cppo_verl.hardware.model_files import num_heads, num_positions
from cppo_verl.hardware.trainable import BESIDE_IMAGES, architecture_fault, engine_fault
from cppo_verl.preflight.check import check
from cppo_verl.preflight.prepare import prepare
from cppo_verl.rewards import gsm8k

LISTED = """
import importlib
from vllm.model_executor.models import registry

missing = []
for name, (module, _) in registry._TEXT_GENERATION_MODELS.items():
    try:
        importlib.import_module(module if module.startswith("vllm.") else f"vllm.model_executor.models.{module}")
    except Exception as error:
        if getattr(error, "name", None) == "torchvision":
            missing.append(name)
print(*missing)
"""
QUESTIONS = [f"How many are {number}?" for number in range(8)]


@pytest.fixture
def ready(config, tmp_path):
    """`ready(model, "key=value", ...)`: a run's config on questions that any of these reads."""
    rows = write_rows(tmp_path / "rows.parquet", QUESTIONS)
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"trainer.default_local_dir={tmp_path}/run")
    return lambda model, *more: config(
        *("recipe=toy", "device=cpu", *files, f"actor_rollout_ref.model.path={model}", *more)
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", TEXT)
def test_models_of_text_are_taken(ready, tmp_path, family, tied):
    model = write_family(tmp_path / "model", family, weights=family != "qwen3_5_text", tie_word_embeddings=tied)
    # Its engine needs torchvision: below, and only a plan here.
    c = ready(model, *(["dry_run=true"] if family == "qwen3_5_text" else []))
    told = prepare(c)
    assert told.startswith("GRPO: 8 questions")
    stretched = family == "ministral3"  # by YaRN, as its config does by itself
    assert num_positions(str(model)) == (None if stretched else POSITIONS)
    sizes = read_model(str(model))
    assert (sizes.layers, sizes.heads, sizes.kv_heads, sizes.tied) == (2, 2, 1, tied)
    if family != "qwen3_5_text":
        loaded = AutoModelForCausalLM.from_pretrained(model)
        assert sizes.parameters == loaded.num_parameters()
        ids = AutoTokenizer.from_pretrained(model).apply_chat_template(
            [{"role": "user", "content": QUESTIONS[0]}], add_generation_prompt=True, return_tensors="pt"
        )["input_ids"]
        assert loaded(ids).logits.shape == (1, ids.shape[1], 384)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="needs a stack without torchvision, as device=cpu has")
def test_a_model_of_text_beside_those_of_images_is_refused_without_torchvision(ready, tmp_path):
    model = write_family(tmp_path / "model", "qwen3_5_text")
    with pytest.raises(ConfigError, match=r"model.path: .* is a Qwen3_5ForCausalLM, which the rollout engine cannot"):
        check(ready(model))
    check(ready(model, "dry_run=true"))  # a plan for a machine where it may be


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="needs a stack without torchvision, as device=cpu has")
def test_vllm_has_them_in_modules_that_import_torchvision():
    """Fails where a newer vLLM takes them, or has others of the kind."""
    found = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True).stdout
    assert set(found.splitlines()[-1].split()) == BESIDE_IMAGES


@pytest.mark.parametrize("family", WITH_IMAGES)
def test_models_of_images_are_refused_by_name_where_their_processor_cannot_be_loaded(ready, tmp_path, family):
    model = write_with_images(tmp_path / "model", family)
    with pytest.raises(ConfigError) as caught:
        check(ready(model))
    (message,) = caught.value.args
    for part in ("actor_rollout_ref.model.path:", str(model), WITH_IMAGES[family][0], "loads its processor, and that"):
        assert part in message
    check(ready(model, "dry_run=true"))  # a plan for a machine where it may be


@pytest.mark.parametrize("family", WITH_IMAGES)
def test_the_sizes_of_nested_configs_are_those_of_the_text_part(tmp_path, family):
    model = str(write_with_images(tmp_path / "model", family))
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert "max_position_embeddings" not in config
    assert num_positions(model) == (None if family == "mistral3" else POSITIONS)
    assert num_heads(model) == 2
    assert read_model(model).layers == 2


def test_a_missing_torchvision_is_named(tmp_path, monkeypatch):
    from transformers import AutoProcessor

    def fails(*_, **__):
        raise ImportError(
            "\nGemma3Processor requires the Torchvision library but it was not found in your environment."
        )

    monkeypatch.setattr(AutoProcessor, "from_pretrained", fails)
    fault = engine_fault(str(write_with_images(tmp_path / "model", "gemma3")))
    assert "(ImportError: Gemma3Processor requires the Torchvision library" in fault
    assert "device=cpu has no torchvision: train it on GPUs" in fault


@pytest.mark.parametrize("family", WITH_IMAGES)
def test_an_evaluation_finds_the_context_of_a_nested_config(tmp_path, family):
    model = str(write_with_images(tmp_path / "model", family))
    question = Question("gsm8k", 0, [{"role": "user", "content": "How many?"}], "openai/gsm8k", "4", {}, gsm8k)
    ids, _ = tokenized(model, [Request(question, 0, GREEDY)], PromptSettings(), max_tokens=64)
    assert len(ids["gsm8k/0/0"]) < POSITIONS
    if family != "mistral3":
        with pytest.raises(ConfigError, match=f"beyond the model's context of {POSITIONS}"):
            tokenized(model, [Request(question, 0, GREEDY)], PromptSettings(), max_tokens=POSITIONS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
            r"is a T5ForConditionalGeneration \(t5\)",
        ),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, r"is a BertForMaskedLM \(bert\)"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, r"is a GPT2LMHeadModel \(gpt2\)"),
        (
            {"model_type": "qwen2", "architectures": ["Qwen2Model"]},
            r"is a Qwen2Model \(qwen2\), which verl 0\.9\.1 would",
        ),
        ({"model_type": "qwen2"}, "names nothing as architectures in its config.json; verl 0.9.1 needs one"),
        ({"model_type": "qwen2", "architectures": ["A", "B"]}, "names A, B as architectures"),
    ],
)
def test_what_verl_does_not_train_is_refused(ready, tmp_path, content, says):
    model = write_family(tmp_path / "model", "qwen2", weights=False)
    assert architecture_fault(str(model)) is None
    (model / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=says):
        check(ready(model))


def special(model, **tokens) -> None:
    """Give a model's tokenizer other special tokens."""
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **tokens}))


def test_pad_tokens(ready, tmp_path):
    model = write_family(tmp_path / "model", "qwen2", weights=False)
    for pad in ("<|im_end|>", None):  # that of a turn's end, and none: then verl takes it
        special(model, pad_token=pad)
        check(ready(model))
    special(model, pad_token="<|im_end|>")
    small = json.loads((model / "config.json").read_text()) | {"vocab_size": 2}
    (model / "config.json").write_text(json.dumps(small))
    with pytest.raises(ConfigError, match=r"pads with token 2 \('<\|im_end\|>'\), but the model has embeddings of 2"):
        check(ready(model))


def test_ends_of_turns(ready, tmp_path):
    """vLLM stops at the tokenizer's end token and at all of the generation config's."""
    model = write_family(tmp_path / "model", "qwen2", weights=False)
    assert "ends a turn" not in prepare(ready(model))
    special(model, eos_token="<|endoftext|>")
    generation = model / "generation_config.json"
    generation.write_text('{"eos_token_id": 0}')
    told = prepare(ready(model))
    assert "ends a turn with '<|im_end|>', but the model stops at '<|endoftext|>'" in told
    assert "add 2 to eos_token_id of its generation_config.json" in told
    generation.write_text('{"eos_token_id": [0, 2]}')
    assert "ends a turn" not in prepare(ready(model))
