"""Files that are whole, and folders that one run at a time writes into."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cppo_verl.runs.files import InUse, alone_in

HOLD = """
import sys, pathlib, cppo_verl.runs.files as files
with files.alone_in(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_folder_is_one_processes_until_it_ends_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InUse, match="another run writes into"), alone_in(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with alone_in(tmp_path):
        pass
