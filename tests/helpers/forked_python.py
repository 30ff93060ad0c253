"""A `python` that starts as a fork of the server in `prefork`: the same arguments, environment, folder and open files.

It waits for the fork, hands on the signals that it gets, and ends as the fork ends. Where it is killed the server kills
the fork. It imports next to nothing: its own start is most of what a start costs.
"""

import array
import ctypes
import json
import os
import signal
import socket
import struct
import sys

PR_SET_PDEATHSIG = 1
LARGEST = 1 << 22
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Ask for a fork, and be to its parent what it is."""
    if any(word.endswith("default_worker.py") for word in sys.argv[1:]):  # a fork does not know the pid of its Ray
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ["PREFORK_SOCKET"])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    files = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd != connection.fileno() and _is_open(fd)]
    request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(), "files": files}
    request["pid"] = os.getpid()
    encoded = json.dumps(request).encode()
    connection.sendmsg(
        [struct.pack("!I", len(encoded))],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))],
    )
    connection.sendall(encoded)
    (pid,) = struct.unpack("!I", _exactly(connection, 4))
    for number in HANDED_ON:
        signal.signal(number, lambda number, _: _send(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # What is piped through is the fork's: its reader has to see the end when the fork ends.
    for fd in files:
        os.close(fd)
    (status,) = struct.unpack("!I", _exactly(connection, 4))
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            os._exit(70)  # the server is gone, and with it the fork
        data += part
    return data


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False  # the folder that was listed
    return True


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    main()
