"""CPUs that Ray counts: a run that would wait for them for ever is refused."""

from __future__ import annotations

import os

import pytest
from ray._private import utils as of_ray

from cppo_verl.preflight import cpus
from cppo_verl.preflight.cpus import CPUS, UNITS, cpu_faults, cpus_needed, cpus_of_ray

GPU = ("recipe=gsm8k", "trainer.n_gpus_per_node=1")
V1 = (*GPU, "trainer.use_v1=true")
MANY = (*V1, f"{UNITS}=8")
"""verl's own number of storage units."""


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (GPU, 1 + 3 + 1),
        (("recipe=gsm8k",), 1 + 2 * 3 + 1),
        (V1, 1 + 3 + 1 + 2),
        ((*V1, "trainer.n_gpus_per_node=4"), 16),
        ((*GPU, "mode=separate_async"), 1 + 3 + 2 + 1 + 2),
        ((*V1, f"{UNITS}=8"), 1 + 3 + 1 + 8),
        ((*V1, "device=cpu"), 1 + 3 + 1 + 1),
    ],
)
def test_what_is_needed(config, overrides, needed):
    assert sum(cpus_needed(config(*overrides)).values()) == needed


def test_too_few_are_refused_with_what_works(config, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cpus, "cpus_of_ray", lambda: 8)
    (message,) = cpu_faults(config(*MANY))
    assert "for 13 CPUs" in message and "of its 8" in message
    for remedy in (f"{UNITS}=3", f"{CPUS}=13"):
        assert remedy in message
        assert list(cpu_faults(config(*MANY, remedy))) == []
    assert list(cpu_faults(config(*GPU))) == []


def test_those_of_another_machine_are_not_counted(config, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cpus, "cpus_of_ray", lambda: 2)
    assert list(cpu_faults(config(*MANY)))
    assert list(cpu_faults(config(*MANY, "dry_run=true"))) == []
    assert list(cpu_faults(config(*MANY, "trainer.nnodes=2"))) == []
    assert list(cpu_faults(config(*MANY, "+ray_kwargs.ray_init.address=auto"))) == []


def test_the_cpu_stack_has_enough(config):
    for mode in ("trainer.use_v1=false", "trainer.use_v1=true", "mode=separate_async"):
        assert list(cpu_faults(config("recipe=toy", "device=cpu", mode, "trainer.n_gpus_per_node=4"))) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "1650000 100000"}, 16),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpuset/cpuset.cpus": "0-2,5\n"}, 4),
        ({"cpuset/cpuset.cpus": "0-7", "cpu.max": "300000 100000"}, 3),
    ],
)
def test_a_containers_share_is_counted_as_ray_does(tmp_path, monkeypatch, files, found):
    """A machine of more CPUs than a container may use would seem to have enough."""
    monkeypatch.delenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    names = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpuset/cpuset.cpus", "cpu.max"
    rays = of_ray._get_docker_cpus(*(str(tmp_path / name) for name in names))
    assert cpus_of_ray(tmp_path) == int(rays or os.cpu_count()) == (found or os.cpu_count())
    monkeypatch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
    assert cpus_of_ray(tmp_path) == os.cpu_count()


def test_this_machines_are_those_that_ray_finds():
    assert cpus_of_ray() == of_ray.get_num_cpus()
