"""What the rehearsal calls GPU code, and how it lists what no test reached."""

from __future__ import annotations

import importlib.util

import pytest

CODE = '''\
def device(config, on_cpu):
    """Of cuda."""
    import torch
    if config.on_gpu:
        a = 1
        b = 2
    else:
        c = 3
    with config:
        torch.cuda.synchronize()
    if on_cpu():
        return 4
    d = 5
    return 6


def guarded():
    try:
        import pynvml
    except ImportError:
        print("no pynvml")
    finally:
        pynvml.nvmlShutdown()


def neither(config):
    return config.n_gpus_per_node
'''


@pytest.fixture
def unreached(repo, tmp_path):
    """`unreached(executed lines)`: first and last line of what is listed of `CODE`."""
    spec = importlib.util.spec_from_file_location("unreached", repo / "tests/gpu_rehearsal/unreached.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file = tmp_path / "code.py"
    file.write_text(CODE)
    return lambda *executed: [tuple(piece) for piece in module.unreached(file, set(executed))]


def test_both_sides_of_a_question_about_the_device_and_what_names_cuda(unreached):
    device = [(5, 6, "device"), (8, 8, "device"), (10, 10, "device"), (13, 14, "device")]
    assert unreached() == [*device, (19, 19, "guarded"), (21, 21, "guarded"), (23, 23, "guarded")]


def test_what_was_reached_is_not_listed(unreached):
    assert unreached(5, 8, 14, 19, 21, 23) == [(6, 6, "device"), (10, 10, "device"), (13, 13, "device")]
