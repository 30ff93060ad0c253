"""A logger without its package or its key is refused, and the refusal names the way without."""

import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import pytest
from verl.utils.tracking import Tracking

from cppo_verl.hardware import network
from cppo_verl.hardware.network import no_answer
from cppo_verl.preflight import loggers
from cppo_verl.preflight.loggers import BACKENDS, logger_faults, remarks_on_loggers

KEYLESS = "WANDB_", "SWANLAB_", "MLFLOW_", "CLEARML_", "VOLC_", "MLP_", "NETRC", "RAY_ADDRESS"


@pytest.fixture
def silences() -> dict[str, str]:
    """Servers of wandb's that do not answer, and why; all others do."""
    return {}


@pytest.fixture
def faults(config, tmp_path, monkeypatch, silences):
    """`faults("wandb", NAME="value", ...)`: of a logger, in an empty home, with nothing else in the environment."""
    for name in [name for name in loggers.os.environ if name.startswith(KEYLESS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loggers, "find_spec", lambda package: package)  # all are installed
    monkeypatch.setattr(loggers, "_wandb_silence", silences.get)

    def ask(name, *overrides, **environment):
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        return list(logger_faults(config("recipe=toy", "device=cpu", f"trainer.logger=[console,{name}]", *overrides)))

    return ask


def test_every_logger_of_verl_is_known():
    assert BACKENDS.keys() == {*Tracking.supported_backend, "tracking"} - {"console", "file"}


def test_the_default_needs_nothing(config):
    assert not list(logger_faults(config("recipe=toy", "device=cpu")))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_package_that_is_missing(config, name, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    (fault,) = logger_faults(config("recipe=toy", "device=cpu", f"trainer.logger={name}"))
    assert f"{name} needs a package: pip install " in fault
    assert not list(logger_faults(config("recipe=toy", "device=cpu", f"trainer.logger={name}", "dry_run=true")))


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("wandb", "WANDB_MODE=offline"),
        ("tracking", "WANDB_MODE=offline"),
        ("swanlab", "SWANLAB_MODE=offline"),
        ("clearml", "CLEARML_OFFLINE_MODE=1"),
        ("vemlp_wandb", "MLP_TRACKING_REGION"),
    ],
)
def test_a_key_that_is_missing(faults, name, without):
    (fault,) = faults(name)
    assert fault.startswith(f"trainer.logger: {name} ") and without in fault


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("wandb", {"WANDB_API_KEY": "k" * 40}),
        ("wandb", {"WANDB_IDENTITY_TOKEN_FILE": "token"}),
        ("wandb", {"WANDB_MODE": "offline"}),
        ("wandb", {"WANDB_MODE": "disabled"}),
        ("swanlab", {"SWANLAB_API_KEY": "k"}),
        ("swanlab", {"SWANLAB_MODE": "local"}),
        ("clearml", {"CLEARML_API_ACCESS_KEY": "a", "CLEARML_API_SECRET_KEY": "s"}),
        ("clearml", {"CLEARML_OFFLINE_MODE": "1"}),
        ("vemlp_wandb", {"VOLC_ACCESS_KEY_ID": "a", "VOLC_SECRET_ACCESS_KEY": "s", "MLP_TRACKING_REGION": "r"}),
        ("mlflow", {}),
        ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///mlruns.db"}),
        ("mlflow", {"MLFLOW_TRACKING_URI": "postgresql+psycopg2://host/base"}),
        ("mlflow", {"MLFLOW_TRACKING_URI": "runs"}),
        ("tensorboard", {}),
        ("trackio", {}),
        ("wandb", {"RAY_ADDRESS": "10.0.0.1:6379"}),  # the key may be the cluster's
    ],
)
def test_what_the_environment_gives_is_enough(faults, name, environment):
    assert faults(name, **environment) == []


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("wandb", ".netrc", "machine api.wandb.ai login user password k"),
        ("wandb", "_netrc", "machine api.wandb.ai login user password k"),
        ("wandb", ".config/wandb/settings", "[default]\nmode = offline"),
        ("wandb", "wandb/settings", "[default]\nmode = disabled"),
        ("swanlab", ".swanlab/.netrc", "machine https://api.swanlab.cn login user password k"),
        ("clearml", "clearml.conf", "api {}"),
    ],
)
def test_a_login_is_enough(faults, tmp_path, name, file, content):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert faults(name) == []


@pytest.mark.parametrize("content", ["machine elsewhere.org login user password k", "machine", "\0"])
def test_a_login_elsewhere_is_none(faults, tmp_path, content):
    (tmp_path / ".netrc").write_text(content)
    (fault,) = faults("wandb")
    assert "has no key for https://api.wandb.ai" in fault


def test_a_server_of_ones_own_has_a_login_of_its_own(faults, tmp_path):
    (tmp_path / "logins").write_text("machine wandb.mine.org:8080 login user password k")
    server = {"WANDB_BASE_URL": "https://wandb.mine.org:8080", "NETRC": "~/logins"}
    assert faults("wandb", **server) == []
    assert faults("wandb", **server | {"WANDB_BASE_URL": "https://wandb.mine.org"}) != []


def test_a_server_of_wandb_that_is_silent_is_not_waited_for(faults, silences):
    """As on a node without a network; wandb itself would wait when the models are loaded."""
    silences["https://wandb.mine.org"] = "no route"
    with_key = {"WANDB_BASE_URL": "https://wandb.mine.org", "WANDB_API_KEY": "k" * 40}
    (fault,) = faults("wandb", **with_key)
    assert "wandb finds no server at https://wandb.mine.org (no route): log to this disk with WANDB_MODE=off" in fault
    assert faults("wandb", **with_key, WANDB_MODE="offline") == []


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://", "it names no host"),
        ("http://[half", "cannot read MLFLOW_TRACKING_URI"),
        ("carrier-pigeon://coop", "knows no store carrier-pigeon:"),
    ],
)
def test_an_address_of_mlflow_that_is_none(faults, uri, why):
    (fault,) = faults("mlflow", MLFLOW_TRACKING_URI=uri)
    assert why in fault and "MLFLOW_TRACKING_URI=sqlite:///mlruns.db" in fault


def test_a_server_of_mlflow_is_asked(faults):
    with serving(404) as address:  # a server that only lacks what it was asked for
        assert faults("mlflow", MLFLOW_TRACKING_URI=address) == []
    (fault,) = faults("mlflow", MLFLOW_TRACKING_URI=address)
    assert "finds no server at MLFLOW_TRACKING_URI" in fault


@pytest.mark.parametrize(("status", "answers"), [(200, True), (401, True), (404, True), (503, False), (407, False)])
def test_what_counts_as_an_answer(status, answers):
    with serving(status) as address:
        assert (no_answer(address) is None) == answers


def test_who_does_not_answer_is_not_waited_for(monkeypatch):
    """Also where the system's look-up of a name takes its time, which no timeout of a socket ends."""
    resolved = Event()
    monkeypatch.setattr(network, "_ask", lambda url, seconds: resolved.wait())
    assert no_answer("http://nowhere.example", seconds=0.1) == "no answer within 0.1 s"
    resolved.set()


def test_no_logger_is_imported():
    script = "import sys, cppo_verl.preflight.loggers; print({'wandb', 'tensorboard', 'torch'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"


@contextmanager
def serving(status: int):
    """A server that answers everything so; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("chosen", "lacks"), [("[console,wandb]", True), ("wandb", True), ("[file,wandb]", False)])
def test_a_run_without_the_file_log_is_told_so(config, chosen, lacks):
    remarks = list(remarks_on_loggers(config("recipe=toy", "device=cpu", f"trainer.logger={chosen}")))
    assert ["metrics.jsonl" in remark for remark in remarks] == [True] * lacks
