"""Headless Chromium for tests, spoken to over a pipe in the DevTools protocol: no driver, no package, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
OFFLINE = ("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND")
SILENCE = 120
"""Seconds after which a command has failed."""


class Browser:
    """One page; `with Browser(profile) as browser`.

    Chromium reads commands from its file descriptor 3 and writes replies and events to 4, each ended by a zero byte.
    """

    def __init__(self, profile: Path):
        commands, self._commands = os.pipe()
        self._replies, replies = os.pipe()

        command = [CHROMIUM, *OPTIONS, *OFFLINE, f"--user-data-dir={profile}", "about:blank"]
        with_pipes = ["bash", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{replies}', *command]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(with_pipes, pass_fds=(commands, replies), **silent)
        os.close(commands)
        os.close(replies)
        self._unread, self._sent, self._session = b"", 0, None
        self.errors: list[str] = []
        """What the page threw, logged as an error or failed to load."""

    def __enter__(self) -> Browser:
        (page,) = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._commands)
        os.close(self._replies)

    def call(self, method: str, **params) -> dict[str, Any]:
        """A command's result; events that come in between are looked at for errors."""
        self._sent += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._sent, "method": method, "params": params} | session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (reply := self._read()).get("id") != self._sent:
            self._note(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def open(self, page: Path, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Show a file; returns when it has loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.scheme(dark)
        self.call("Page.navigate", url=page.as_uri())
        while (event := self._read()).get("method") != "Page.loadEventFired":
            self._note(event)
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def scheme(self, dark: bool) -> None:
        """Prefer dark or light."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise's when it is kept."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def move(self, x: float, y: float) -> None:
        """The mouse, to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._replies], [], [], SILENCE)[0], f"Chromium said nothing for {SILENCE} s"
            chunk = os.read(self._replies, 1 << 20)
            assert chunk, "Chromium has ended"
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(json.dumps(params["entry"]))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
            self.errors.append(f"asked the network for {params['request']['url']}")
