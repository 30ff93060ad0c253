"""A model's folder is looked at before the run, and nothing in it is run."""

from __future__ import annotations

import json

import huggingface_hub
import pytest
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.estimates import read_model
from cppo_verl.hardware.model_files import code_fault, model_fault, num_positions, tokenizer_fault, weights_fault
from cppo_verl.preflight.check import check

KEYS = ("actor_rollout_ref.model.path", "actor_rollout_ref.model.tokenizer_path", "reward.reward_model.model_path")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "own.Config", "AutoTokenizer": ["own.Tokenizer", None]}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}),
    ],
)
def test_code_that_a_model_brings_is_refused_and_not_run(config, tmp_path, key, file, content):
    """verl's reward workers would run it, whatever the user says of trust."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "trap").mkdir()
    trap = write_model(tmp_path / "trap")
    (trap / file).write_text(json.dumps({"model_type": "own" if "path" in key else "qwen2", **content}))
    (trap / "own.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    given = config("recipe=toy", "device=cpu", "reward.reward_model.enable=true", f"{key}={trap}")
    if key != KEYS[0]:
        given.actor_rollout_ref.model.path = str(write_model(tmp_path / "plain"))
    with pytest.raises(ConfigError, match=rf"{key}: .*brings code of its own \(auto_map in {file}\).*code=true"):
        check(given)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "config.json is not a JSON object"),
        ("{", "config.json cannot be read as JSON"),
        ('{"model_type": "qwen2", "hidden_size": "x"}', "hidden_size"),
        ('{"model_type": 5}', "5"),
    ],
)
def test_a_broken_config_is_said(tmp_path, content, says):
    (tmp_path / "config.json").write_text(content)
    assert says in (code_fault(str(tmp_path)) or model_fault(str(tmp_path)))
    assert num_positions(str(tmp_path)) is None


def test_a_config_that_makes_no_model_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"makes no model: ZeroDivisionError"):
        read_model(str(write_model(tmp_path, num_attention_heads=0)))


@pytest.mark.parametrize("content", ["[]", "{", "5", "\udcff"])
def test_a_broken_tokenizer_config_is_said(config, tmp_path, content):
    write_model(tmp_path)
    (tmp_path / "tokenizer_config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json (is not a|cannot be read as) JSON") as caught:
        check(config("recipe=toy", "device=cpu", f"actor_rollout_ref.model.path={tmp_path}"))
    assert "could not check" not in str(caught.value)


def test_a_model_without_tokenizer_is_refused(tmp_path):
    assert tokenizer_fault(str(write_model(tmp_path))) is None
    (tmp_path / "tokenizer_config.json").unlink()
    assert "holds no tokenizer" in tokenizer_fault(str(tmp_path))
    assert "no tokenizer at" in tokenizer_fault(str(tmp_path / "nowhere"))


def test_shards_that_are_not_there_are_named(tmp_path):
    write_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert weights_fault(str(tmp_path)) is None
    index.write_text(json.dumps({"weight_map": {name: f"model-{name}.safetensors" for name in "123"}}))
    assert "lacks model-2.safetensors and 1 more, which model.safetensors.index.json names" in weights_fault(
        str(tmp_path)
    )
    for broken in ("[]", "{", '{"weight_map": 5}'):
        index.write_text(broken)
        assert str(index) in weights_fault(str(tmp_path))
    index.write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    (tmp_path / "model.safetensors").touch()
    assert weights_fault(str(tmp_path)) is None, "transformers takes the one file first"


def test_a_hub_that_cannot_be_reached_is_asked_once(config, monkeypatch, tmp_path):
    asked = []

    def unreachable(repo, **_):
        asked.append(repo)
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    rows = write_rows(tmp_path / "rows.parquet", list("abcdefgh"))
    files = (f"data.train_files={rows}", f"data.val_files={rows}")
    with pytest.raises(ConfigError, match=r"no model at nobody/asked-once \(no route\); give a folder"):
        check(config("recipe=toy", "device=cpu", "actor_rollout_ref.model.path=nobody/asked-once", *files))
    assert asked == ["nobody/asked-once"]


@pytest.mark.parametrize(
    ("cached", "says"),
    [
        ("config.json", "the model is in the cache: set HF_HUB_OFFLINE=1 to use it as it is"),
        (None, "the model is not in the cache; download it where there is a network"),
    ],
)
def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch, cached, says):
    """On a node without DNS huggingface_hub would try for minutes, and the run's processes again, each for itself."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: cached)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked for files"))
    said = model_fault(f"nobody/{'cached' if cached else 'unknown'}")
    assert said.startswith("no model at nobody/") and "the hub, http://127.0.0.1:9, does not answer: " in said
    assert says in said


def test_offline_the_hub_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("cppo_verl.hardware.hub.no_answer", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(write_model(tmp_path)))
    assert model_fault("nobody/offline") is None
