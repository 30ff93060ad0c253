"""A `python` that starts as a fork of `fork_server`: the same arguments, environment, folder and open files.

It waits for the fork, hands on the signals that it gets, and ends as the fork ends. Where it is killed the server kills
the fork. It imports next to nothing: its own start is much of what a start costs.
"""

import array
import ctypes
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

SOCKET, PYTHON = "PREFORK_SOCKET", "PREFORK_PYTHON"
"""Environment variables: where the server listens, and what starts this."""
NUMBER = struct.Struct("!I")
"""How long a request is, a pid, and how a fork ended, as they are sent."""
PR_SET_PDEATHSIG = 1
SERVER_IS_GONE = 70
HANDED_ON = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2


def main() -> None:
    """Ask for a fork, and be to its parent what it is."""
    if any(word.endswith("default_worker.py") for word in sys.argv[1:]):  # a fork does not know the pid of its Ray
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    server = socket.socket(socket.AF_UNIX)
    server.connect(os.environ[SOCKET])
    files = [file for file in map(int, os.listdir("/proc/self/fd")) if file != server.fileno() and _is_open(file)]
    request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(), "files": files}
    encoded = json.dumps({**request, "pid": os.getpid()}).encode()
    unheard = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
    server.sendmsg([NUMBER.pack(len(encoded))], rights)
    server.sendall(encoded)
    fork = _number(server)
    for each in HANDED_ON:
        signal.signal(each, lambda received, _: _send(fork, received))
    signal.pthread_sigmask(signal.SIG_SETMASK, unheard)
    for file in files:  # whoever reads the other end of a pipe has to see the end when the fork ends
        os.close(file)
    status = _number(server)
    if os.WIFSIGNALED(status):
        received = os.WTERMSIG(status)
        if received != signal.SIGKILL:
            signal.signal(received, signal.SIG_DFL)
        os.kill(os.getpid(), received)
    os._exit(os.WEXITSTATUS(status))


def _number(server: socket.socket) -> int:
    data = server.recv(NUMBER.size, socket.MSG_WAITALL)
    if len(data) < NUMBER.size:
        os._exit(SERVER_IS_GONE)  # and with it the fork
    return NUMBER.unpack(data)[0]


def _is_open(file: int) -> bool:
    """The folder that lists open files is one of them, until it is listed."""
    with suppress(OSError):
        os.fstat(file)
        return True
    return False


def _send(fork: int, received: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(fork, received)


if __name__ == "__main__":
    main()
