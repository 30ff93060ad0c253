"""The parts of the trainer that need no cluster."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from verl import DataProto
from verl.utils.metric import Metric

from cppo_verl.algorithm.metrics import step_metrics
from cppo_verl.runs.metrics_log import MetricsLog
from cppo_verl.trainer import watchdog
from cppo_verl.trainer.rollout_seed import question_seeds
from cppo_verl.trainer.rows import (
    name_completions,
    name_questions,
    num_questions,
    row_advantages,
    sampled_rows,
    weigh_advantages,
)
from cppo_verl.trainer.run_folder import STEP_METRICS, RunFolder
from cppo_verl.trainer.stages import clip_fractions


def batch_of(lengths: list[int], advantages: list[float], width: int = 5) -> DataProto:
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    prompt = torch.tensor([[0, 1, 1]] * len(lengths))
    tensors = {
        "responses": torch.zeros_like(mask),
        "response_mask": mask,
        "attention_mask": torch.cat([prompt, mask], 1),
        "advantages": torch.tensor(advantages)[:, None] * mask,
        "token_level_scores": torch.nn.functional.one_hot(torch.tensor(lengths).clamp(min=1) - 1, width) * 2.0,
    }
    return DataProto.from_dict(tensors, non_tensors={"uid": np.array(["a"] * len(lengths), dtype=object)})


def test_row_advantages_do_not_depend_on_length():
    found = row_advantages(batch_of([1, 3, 5, 0], [0.1, 0.1, -0.7, 9.0]))
    assert found.tolist() == pytest.approx([0.1, 0.1, -0.7, 0.0])
    assert found[0] == found[1], "bit-identical, so that a tie is a tie"


def test_advantages_are_weighed_completion_by_completion():
    batch = batch_of([1, 3, 5], [0.1, -0.7, 9.0])
    before = batch.batch["advantages"].clone()
    weigh_advantages(batch, torch.ones(3, dtype=torch.double))
    assert torch.equal(batch.batch["advantages"], before), "bit-identical"
    weigh_advantages(batch, torch.tensor([2.0, 0.5, 1.0], dtype=torch.double))
    assert row_advantages(batch).tolist() == pytest.approx([0.2, -0.35, 9.0])
    assert batch.batch["advantages"].dtype == before.dtype and (batch.batch["advantages"][0, 1:] == 0).all()


def test_sampled_rows():
    rows = sampled_rows(batch_of([1, 5], [1.0, -1.0]))
    assert rows.prompt_tokens.tolist() == [2, 2]
    assert rows.response_tokens.tolist() == [1, 5]
    assert rows.reward.tolist() == [2.0, 2.0]
    assert rows.accuracy is None
    assert rows.layout is None


def test_sampled_rows_have_what_the_reward_reports():
    batch = batch_of([1, 5], [1.0, -1.0])
    batch.non_tensor_batch |= {"acc": np.array([1.0, 0.0], object), "format": np.array([0.0, 1.0], object)}
    batch.non_tensor_batch["outcome"] = np.array(["equal", "timed_out"], object)
    rows = sampled_rows(batch)
    assert rows.accuracy.tolist() == [1, 0]
    assert rows.layout.tolist() == [0, 1]
    counts = step_metrics(rows, torch.tensor([0]), rounds=1, surplus=0)
    assert (counts["cppo/outcomes/equal"], counts["cppo/outcomes/timed_out"]) == (1, 1)


@pytest.mark.parametrize(
    "layout", [["boxed", "boxed"], [[1], [1, 2]], [1.0, None], ["1", "0"], [1.0, float("nan")], [1.0, "tags"]]
)
def test_what_a_reward_reports_is_counted_where_it_is_numbers(layout, capsys):
    """Whatever else a reward function of one's own calls `format`, training goes on, without the kinds."""
    batch = batch_of([1, 5], [1.0, -1.0])
    batch.non_tensor_batch["acc"] = np.array([True, False])
    column = np.empty(2, dtype=object)
    column[:] = layout
    batch.non_tensor_batch["format"] = column
    rows = sampled_rows(batch)
    assert (rows.accuracy.tolist(), rows.layout) == ([1, 0], None)
    counts = step_metrics(rows, torch.tensor([0]), rounds=1, surplus=0)
    assert counts["cppo/sampled/accuracy"] == 0.5 and not any("kinds" in name for name in counts)


def test_validation_questions_are_counted_by_source_and_not_by_sample():
    uids = [uid for uid in "abcd" for _ in range(2)]
    counted = num_questions(["gsm8k"] * 6 + ["math"] * 2, uids)
    assert counted == {"val-aux/gsm8k/num_questions": 3, "val-aux/math/num_questions": 1}


def test_names_are_those_of_step_question_and_sample():
    batch = DataProto.from_dict({"x": torch.zeros(2)})
    name_questions(batch, step=7, first=3)
    batch = batch.repeat(2, interleave=True)
    name_completions(batch, 2)
    assert batch.non_tensor_batch["row_id"].tolist() == ["7:3:0", "7:3:1", "7:4:0", "7:4:1"]


def test_seeds_of_questions_differ_and_repeat():
    uids = [f"1:{question}" for question in range(500)]
    seeds = question_seeds(0, uids)
    assert len(set(seeds.tolist())) == len(uids)
    assert (seeds == question_seeds(0, uids)).all()
    assert not (seeds == question_seeds(1, uids)).any()


def test_metrics_log_keeps_the_steps_before_the_resume(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "data": {}}) + "\n" for s in range(5)) + '{"step": 5, "da')
    path.write_text(path.read_text().replace('{"step": 1, ', "rubbish "))
    log = MetricsLog(str(tmp_path))
    with path.open("wb") as fp:  # as verl's file logger opens it
        assert log.keep_until(3)
        log.write_back(SimpleNamespace(logger={"file": SimpleNamespace(fp=fp)}))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 2, 3]


def test_metrics_outlive_a_start_that_failed_while_it_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "data": {}}\n')
    MetricsLog(str(tmp_path))
    path.write_bytes(b"")  # verl's file logger opened it, then the start failed
    log = MetricsLog(str(tmp_path))
    with path.open("wb") as fp:
        assert log.keep_until(1)
        log.write_back(SimpleNamespace(logger={"file": SimpleNamespace(fp=fp)}))
        assert path.read_text() == '{"step": 1, "data": {}}\n', "written out before the copy goes"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize(("step", "is_kept"), [(0, True), (3, True), (4, False)])
def test_the_log_of_what_a_run_leaves_behind_is_kept(tmp_path, monkeypatch, step, is_kept):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
    whole = "".join(json.dumps({"step": s, "data": {}}) + "\n" for s in range(5))
    (tmp_path / "metrics.jsonl").write_text(whole)
    MetricsLog(str(tmp_path)).keep_until(step, goes_back=True)
    earlier = tmp_path / "metrics.earlier_1.jsonl"
    assert (earlier.read_text() if earlier.exists() else None) == (whole if is_kept else None)


def test_metrics_log_of_a_new_run_and_of_other_loggers(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
    log = MetricsLog(str(tmp_path / "new"))
    assert not log.keep_until(0)
    log.write_back(SimpleNamespace(logger={}))
    assert (tmp_path / "new").is_dir()


def test_a_dropped_connection_is_a_missed_poll_not_an_error(monkeypatch):
    def drop(*_, **__):
        raise http.client.RemoteDisconnected("closed")

    monkeypatch.setattr(watchdog._direct, "open", drop)
    assert "closed" in watchdog._fault("127.0.0.1:1")


def test_an_engine_that_answers_late_is_waited_for_and_one_that_never_does_is_not(engine, monkeypatch):
    """Its server is stopped, not dead: polls time out."""
    monkeypatch.setattr(watchdog, "SILENCE_SECONDS", 1)
    engine.late = 3

    def stall_and_go_on() -> int:
        time.sleep(0.3)
        engine.late = 0
        time.sleep(1)
        return 42

    assert watchdog.run_watched(stall_and_go_on, [engine.replica]) == 42
    engine.late = 3
    with pytest.raises(watchdog.RolloutEngineDied, match=r"no answer for \d s"):
        watchdog.run_watched(threading.Event().wait, [engine.replica])


class _Health(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(self.server.late)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def engine(monkeypatch):
    """A server that answers `/health` with `engine.status`."""
    monkeypatch.setattr(watchdog, "POLL_SECONDS", 0.05)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    server.status, server.late = 200, 0
    server.replica = SimpleNamespace(server_address=f"127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_clip_fractions_of_the_updates():
    metric = Metric("mean", 0.0)
    metric.append(0.25)
    assert clip_fractions({"actor/pg_clipfrac": metric}) == clip_fractions({"actor/pg_clipfrac": [0.0, 0.25]})
    assert clip_fractions({"actor/pg_clipfrac": metric}) == [0.0, 0.25]
    assert clip_fractions({"actor/pg_loss": [1.0]}) == [], "of a loss that does not clip"


def test_watched_work_ends_with_its_result_or_its_error(engine):
    assert watchdog.run_watched(lambda: 42, [engine.replica]) == 42
    with pytest.raises(ZeroDivisionError):
        watchdog.run_watched(lambda: 1 / 0, [engine.replica])


def test_dead_engine_ends_work_that_hangs(engine):
    engine.status = 503
    with pytest.raises(watchdog.RolloutEngineDied, match=r"127\.0\.0\.1:\d+ has died"):
        watchdog.run_watched(threading.Event().wait, [engine.replica])


def test_gone_engine_ends_work_that_hangs(engine):
    engine.shutdown()
    engine.server_close()
    with pytest.raises(watchdog.RolloutEngineDied, match="refused"):
        watchdog.run_watched(threading.Event().wait, [engine.replica])


@pytest.mark.parametrize(
    ("is_logged", "test_freq", "logs", "validates"),
    [(False, 5, True, False), (False, 2, False, True), (False, -1, True, False), (True, 2, False, False)],
)
def test_a_step_that_was_saved_and_not_logged_is_made_up_for(tmp_path, is_logged, test_freq, logs, validates):
    """A kill came between the checkpoint of step 4 and its line: the line, or with a validation due, both together."""
    saved, logged = {"training/global_step": 4, "cppo/last_step": 0, "actor/grad_norm": 0.5}, []
    (tmp_path / "global_step_4").mkdir()
    (tmp_path / "global_step_4" / STEP_METRICS).write_text(json.dumps(saved))
    options = {
        "default_local_dir": str(tmp_path),
        "resume_mode": "auto",
        "val_only": False,
        "test_freq": test_freq,
        "val_before_train": True,
    }
    trainer = RunFolder()
    trainer.config = SimpleNamespace(trainer=SimpleNamespace(**options))
    trainer.global_steps, trainer.unlogged = 4, {}
    trainer.metrics_log = SimpleNamespace(write_back=lambda _: None)
    trainer.logger = SimpleNamespace(log=lambda data, step: logged.append((step, data)))
    trainer._find_unlogged(is_logged)
    trainer._continue_log()
    assert logged == ([(4, saved)] if logs else [])
    assert trainer.config.trainer.val_before_train == validates
    assert trainer.unlogged == (saved if validates else {}), "logged with the validation"
