"""A port that verl picked is taken before the workers use it, as by another run that starts: the run starts again."""

from __future__ import annotations

import time
from subprocess import Popen

from recorded import read_metrics

from cppo_verl.runs.wandb_run import RUN_ID_FILE

STEPS = ("trainer.total_training_steps=200", "trainer.total_epochs=200", "trainer.save_freq=2")
LOGGERS = "trainer.logger=[console,file,wandb,tensorboard]"


def test_the_second_start_trains_and_hears_sigterm(train, tmp_path):
    flag, folder = tmp_path / "take the port", tmp_path / "run"
    flag.touch()

    def terminate(process: Popen) -> None:
        while process.poll() is None and not (folder / "global_step_2/complete.json").exists():
            time.sleep(0.1)
        process.terminate()

    env = {
        "CPPO_TEST_PORT": str(flag),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "TENSORBOARD_DIR": str(tmp_path),
    }
    run = train("run", *STEPS, LOGGERS, meanwhile=terminate, ok=False, env=env)
    assert not flag.exists()
    assert run.terminal.count("The run is started again: a port that was free when it was picked") == 1
    assert run.returncode == 143, run.output[-5000:]
    assert run.output.rstrip().splitlines()[-1].startswith("ended by SIGTERM. The same command, started again, goes on")
    steps = sorted(read_metrics(folder))
    assert steps[:2] == [1, 2] and steps == list(range(1, len(steps) + 1))
    (logged,) = (tmp_path / "wandb").glob("offline-run-*")
    assert logged.name.endswith((folder / RUN_ID_FILE).read_text())
    assert list(tmp_path.glob("events.out.tfevents.*"))
