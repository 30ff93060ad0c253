"""The benchmark's parts: forced lengths, rewards by chance, the arms, and the table from run folders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import report_runs as made
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.bench import forced, inputs, scaling, study, table
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.report.split import PHASES, SHRINKING
from cppo_verl.studies.study import Run

SPEED = {study.VERLS_OWN: 1.1, study.GRPO: 1.0, "P=0.5, pruning only": 1.0, "P=0.5": 1.0}


def test_lengths_are_spread_like_gsm8ks():
    lengths = [forced.drawn_length(f"1:0:{i}", 1024) for i in range(4000)]
    assert lengths == [forced.drawn_length(f"1:0:{i}", 1024) for i in range(4000)]
    low, median, high = np.quantile(lengths, [0.05, 0.5, 0.95])
    assert (low, median, high) == pytest.approx((103, 205, 409), rel=0.05)
    assert {forced.drawn_length(f"1:0:{i}", 1) for i in range(100)} == {1}


def test_rewards_vary_within_most_groups():
    scores = [[forced.compute_score("bench", f"{i}", f"{q}")["score"] for i in range(16)] for q in range(200)]
    assert {score for group in scores for score in group} == {0, 1, 2, 3}
    flat = sum(len(set(group)) == 1 for group in scores)
    assert 0 < flat < 50


def test_a_model_and_its_questions(tmp_path):
    geometry = find_geometry("small")
    inputs.build_model(tmp_path / "model", geometry.shape, geometry.dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.hidden_size == geometry.shape["hidden_size"]
    inputs.write_questions(tmp_path / "questions.parquet", 20, 40, tmp_path / "model")
    prompts = [row[0]["content"] for row in pd.read_parquet(tmp_path / "questions.parquet")["prompt"]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert len(set(prompts)) == 20
    assert np.mean([len(tokenizer(prompt)["input_ids"]) for prompt in prompts]) == pytest.approx(40, rel=0.1)


def test_an_unknown_geometry_is_named():
    with pytest.raises(
        ConfigError, match=r"no geometry 'large'; there are qwen2.5-0.5b, qwen2.5-1.5b, qwen2.5-7b, small"
    ):
        find_geometry("large")


def test_what_the_arms_set_is_no_option(tmp_path):
    geometry = find_geometry("small")
    with pytest.raises(ConfigError, match=r"cppo.pruning_rate is set by the benchmark: give --rates"):
        study.plan_bench(geometry, ["0.5"], 1, 3, ["device=cpu", "cppo.pruning_rate=0.75"], tmp_path)


def test_arms_take_turns(tmp_path):
    runs = study.plan_bench(find_geometry("small"), ["0.5"], 2, 3, ["device=cpu"], tmp_path)
    assert [run.arm for run in runs] == [*SPEED] * 2
    assert [run.seed for run in runs] == [1] * 4 + [2] * 4
    batch = runs[0].config.data.train_batch_size
    questions = tmp_path / "inputs/questions.parquet"
    assert len(pd.read_parquet(questions)) == study.QUESTIONS > 3 * batch / (1 - 0.5)
    study.plan_bench(find_geometry("small"), ["0.9375"], 1, 3, ["device=cpu"], tmp_path)
    assert len(pd.read_parquet(questions)) == 3 * batch / (1 - 0.9375)


def test_a_short_one_has_half_the_arms():
    every, short = study.arms(study.RATES), study.arms(study.RATES, short=True)
    assert [*short] == [study.GRPO, *(f"P={rate}" for rate in study.RATES)]
    assert short.items() <= every.items() and len(every) == 2 * len(short)


def test_what_a_benchmark_reads_can_be_made_without_one(tmp_path):
    inputs.main([str(tmp_path), "--geometry", "small", "--questions", "9"])
    prompts = [row[0]["content"] for row in pd.read_parquet(tmp_path / "questions.parquet")["prompt"]]
    assert len(set(prompts)) == 9
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.hidden_size == 256


def test_questions_for_a_model_that_is_there(tmp_path):
    inputs.main([str(tmp_path / "first"), "--geometry", "small", "--questions", "2"])
    inputs.main([str(tmp_path), "--model", str(tmp_path / "first/model"), "--questions", "3"])
    assert len(pd.read_parquet(tmp_path / "questions.parquet")) == 3 and not (tmp_path / "model").exists()


def test_the_table(tmp_path):
    """10 s a step of 4 questions at P = 0, of which 5 shrink: see `report_runs`; the first step is not measured."""
    runs = []
    for seed, noise in ((1, 1.0), (2, 1.25)):
        for arm, speed in SPEED.items():
            rate = 0.5 if arm.startswith("P") else 0.0
            options = {"rate": rate, "allocation": arm == "P=0.5", "steps": 3, "speed": speed * noise}
            entries = made.lines(**options)
            entries[1]["data"]["timing_s/step"] = 1000
            folder = made.write(tmp_path / f"{arm}_{seed}", entries, rate=rate, steps=3)
            runs.append(Run(folder.name, arm, seed, OmegaConf.create(made.config(folder, rate=rate, steps=3))))
    rows = table.measure(runs).set_index("arm")
    assert rows.loc[study.GRPO, ["ratio", "bound", "reached"]].tolist() == [1, 1, 1]
    assert rows.loc[study.VERLS_OWN, "ratio"] < 1
    pruned = rows.loc["P=0.5"]
    assert pruned["ratio low"] <= pruned["ratio"] <= pruned["ratio high"]
    phases = rows[[*PHASES, "other"]].loc[study.GRPO]
    shrinking = phases[list(SHRINKING)].sum()
    assert pruned["bound"] == pytest.approx(phases.sum() / (phases.sum() - shrinking / 2))
    assert pruned["reached"] == pytest.approx(pruned["ratio"] / pruned["bound"])
    assert phases.sum() == pytest.approx(np.mean([10 / 4, (9 * 1.25 + 1) / 4]))


def test_the_model_of_a_step_is_fitted_to_the_first_point_and_predicts_the_others():
    """Seconds that follow it exactly, but for the last point, whose forwards take twice as long."""
    first = [("base", 64, 64), ("base", 64, 16), ("base", 128, 64), ("G = 32", 256, 32), ("2 ranks", 64, 64)]
    rows = [
        {"point": point, "ranks": 1, "sampled": n, "kept": m, "generation": 1 + 0.1 * n, "training": 2 + 0.3 * m}
        for point, n, m in first
    ]
    rows[-1]["training"] *= 2
    steps = scaling.modelled(pd.DataFrame(rows))
    assert steps["error"].iloc[:4].tolist() == pytest.approx([0] * 4, abs=1e-9)
    assert steps["measured"].iloc[3] == pytest.approx(1 + 25.6 + 2 + 9.6)
    assert steps["error"].iloc[4] == pytest.approx(28.6 / (7.4 + 42.4) - 1)


def test_more_devices_share_what_grows_and_not_what_is_fixed():
    cost = scaling.StepCost(sampled=(1, 0.1), kept=(2, 0.3))
    assert cost.seconds(100, 10) == pytest.approx(3 + 10 + 3)
    assert cost.seconds(100, 10, speedup=2) == pytest.approx(3 + (10 + 3) / 2)


def test_where_the_first_point_fails_there_is_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "make_runs", lambda *_: False)
    assert scaling.main(["--geometry", "small", "--out", str(tmp_path), "device=cpu"]) == 1
    assert not (tmp_path / "scaling.json").exists()
