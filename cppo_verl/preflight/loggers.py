"""Loggers that lack their package or their key: found here, and not once the models are loaded.

What each needs is read from verl 0.9.1's `utils/tracking.py`. Nothing is imported, so it takes no time.
"""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from omegaconf import DictConfig

from cppo_verl.config.cluster import joins_cluster
from cppo_verl.hardware.network import no_answer

Environment = Mapping[str, str]
WANDB = "https://api.wandb.ai"
WANDB_SECONDS = 10.0
MLFLOW_STORES = ("", "file", "sqlite", "mysql", "postgresql", "mssql", "databricks", "databricks-uc", "uc")
"""Schemes of `MLFLOW_TRACKING_URI` besides http and https; plug-ins of mlflow's bring others."""


@dataclass(frozen=True)
class Backend:
    """What a logger needs."""

    package: str
    """The module that verl imports."""
    install: str
    """What pip knows it as."""
    fault: Callable[[Environment], str | None] = lambda environment: None
    """What it lacks besides, and how to do without; None where it lacks nothing."""


def logger_faults(config: DictConfig) -> Iterator[str]:
    """Each of `trainer.logger` that could not be opened."""
    joined = joins_cluster(config.ray_kwargs.ray_init)  # whose environment may hold keys that this one does not
    if not config.dry_run:
        yield from faults_of(config.trainer.logger, keys=not joined)


def remarks_on_loggers(config: DictConfig) -> Iterator[str]:
    """What a run without verl's file log lacks."""
    loggers = config.trainer.logger
    if "file" not in ([loggers] if isinstance(loggers, str) else loggers):
        yield "trainer.logger has no file: there will be no metrics.jsonl, which cppo-verl report and advise read"


def faults_of(loggers: str | Iterable[str], *, keys: bool = True) -> Iterator[str]:
    """Each logger that could not be opened from here.

    Args:
        loggers: verl's names.
        keys: Look for keys and servers too, not only for packages.
    """
    for name in dict.fromkeys([loggers] if isinstance(loggers, str) else loggers):
        backend = BACKENDS.get(name)
        if backend is None:
            continue
        if find_spec(backend.package) is None:
            yield f"trainer.logger: {name} needs a package: pip install {backend.install}, or leave {name} out"
        elif keys and (why := backend.fault(os.environ)):
            yield f"trainer.logger: {name} {why}, or leave {name} out"


def _wandb_fault(environment: Environment) -> str | None:
    settings = _wandb_settings(environment)
    host = environment.get("WANDB_BASE_URL") or settings.get("base_url") or WANDB
    is_offline = (environment.get("WANDB_MODE") or settings.get("mode")) in ("offline", "dryrun", "disabled")
    is_known = environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE")
    home = (Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser())
    files = [Path(environment["NETRC"]).expanduser()] if environment.get("NETRC") else home
    here = "log to this disk with WANDB_MODE=offline (`wandb sync` sends it later)"
    if is_offline:
        return None
    if is_known or settings.get("api_key") or _has_login(files, urlsplit(host).netloc):
        why = _wandb_silence(host)
        return why and f"finds no server at {host} ({why}): {here}"
    return f"has no key for {host}: run `wandb login`, set WANDB_API_KEY, or {here}"


def _wandb_silence(host: str) -> str | None:
    """Why the server does not answer; wandb itself waits a minute and a half for it, when the models are loaded."""
    return no_answer(host, WANDB_SECONDS)


def _wandb_settings(environment: Environment) -> Mapping[str, str]:
    """What `wandb login`, `wandb offline` and the like have left in wandb's own files."""
    config = Path(environment.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    here = Path(environment.get("WANDB_DIR") or ".")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([config / "settings", here / ".wandb/settings", here / "wandb/settings"])
    except (configparser.Error, UnicodeDecodeError):  # wandb leaves them out too
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _swanlab_fault(environment: Environment) -> str | None:
    root = environment.get("SWANLAB_ROOT") or environment.get("SWANLAB_SAVE_DIR") or "~/.swanlab"
    folders = [Path(".swanlab"), Path(root).expanduser()]
    is_local = environment.get("SWANLAB_MODE", "cloud") in ("local", "offline", "disabled")
    if is_local or environment.get("SWANLAB_API_KEY") or _has_login([folder / ".netrc" for folder in folders]):
        return None
    return "has no key: run `swanlab login`, set SWANLAB_API_KEY, or log to this disk with SWANLAB_MODE=offline"


def _mlflow_fault(environment: Environment) -> str | None:
    """verl goes on without mlflow when it fails, so that a run would be lost to it unnoticed."""
    uri = environment.get("MLFLOW_TRACKING_URI")
    if not uri:
        return None
    here = "log to a file with MLFLOW_TRACKING_URI=sqlite:///mlruns.db"
    try:
        scheme, host = urlsplit(uri).scheme.partition("+")[0], urlsplit(uri).hostname
    except ValueError as error:
        return f"cannot read MLFLOW_TRACKING_URI ({error}): correct it, or {here}"
    if scheme in ("http", "https"):
        why = no_answer(uri) if host else "it names no host"
        return why and f"finds no server at MLFLOW_TRACKING_URI ({why}): start it, correct the address, or {here}"
    if scheme in MLFLOW_STORES or scheme in entry_points(group="mlflow.tracking_store").names:
        return None
    return f"knows no store {scheme}: of MLFLOW_TRACKING_URI: correct it, or {here}"


def _clearml_fault(environment: Environment) -> str | None:
    keys = [environment.get(f"CLEARML_API_{part}_KEY") for part in ("ACCESS", "SECRET")]
    given = environment.get("CLEARML_CONFIG_FILE")
    files = [given] if given else ["~/clearml.conf", "~/trains.conf"]
    is_offline = environment.get("CLEARML_OFFLINE_MODE", "0").lower() not in ("", "0", "false", "no", "off")
    is_known = all(keys) or environment.get("CLEARML_AUTH_TOKEN")
    if is_offline or is_known or any(Path(file).expanduser().is_file() for file in files):
        return None
    return (
        "has no key: run `clearml-init`, set CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY, or log to this disk "
        "with CLEARML_OFFLINE_MODE=1"
    )


def _vemlp_fault(environment: Environment) -> str | None:
    keys = "VOLC_ACCESS_KEY_ID", "VOLC_SECRET_ACCESS_KEY", "MLP_TRACKING_REGION"
    missing = [key for key in keys if not environment.get(key)]
    return f"needs {', '.join(missing)} in the environment: set it, as it has no offline mode" if missing else None


def _has_login(files: Iterable[Path], host: str | None = None) -> bool:
    """Whether one of the netrc files has a password, for `host` if given."""
    for file in files:
        try:
            entries = netrc.netrc(file)
        except (OSError, netrc.NetrcParseError):  # none there, or one that its logger cannot read either
            continue
        logins = [entries.authenticators(host)] if host else entries.hosts.values()
        if any(login and login[2] for login in logins):
            return True
    return False


BACKENDS = {
    "wandb": Backend("wandb", "wandb", _wandb_fault),
    "tracking": Backend("wandb", "wandb", _wandb_fault),
    "tensorboard": Backend("tensorboard", "tensorboard"),
    "mlflow": Backend("mlflow", "mlflow", _mlflow_fault),
    "swanlab": Backend("swanlab", "swanlab", _swanlab_fault),
    "trackio": Backend("trackio", "trackio"),
    "clearml": Backend("clearml", "clearml", _clearml_fault),
    "vemlp_wandb": Backend("volcengine_ml_platform", "volcengine-ml-platform", _vemlp_fault),
    "rl_insight": Backend("rl_insight", "rl-insight"),
}
"""Name in `trainer.logger` to what it needs; verl's others need nothing."""
