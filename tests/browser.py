"""A headless Chromium that tests drive by its own protocol, over pipes.

Nothing beside the browser is needed: each message is JSON and ends with a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120
"""Seconds without a word after which a browser is given up."""
_READS, _WRITES = 3, 4
"""The descriptors that --remote-debugging-pipe talks through."""


def find_browser() -> str | None:
    """Returns the path of an installed browser."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """The one tab of a browser, and what went on in it.

    Attributes:
        requests: Addresses that were asked for.
        complaints: Exceptions of scripts, and errors such as of a page's policy.
    """

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._buffer = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []
        made = self.call("Target.createTarget", url="about:blank")
        attached = self.call(
            "Target.attachToTarget", targetId=made["targetId"], flatten=True
        )
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        text = json.dumps({**message, **self._session})
        os.write(self._writes, text.encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Opens an address afresh and waits until it is loaded."""
        # From one place of a page to another nothing would be loaded.
        for url in ("about:blank", address):
            self.call("Page.navigate", url=url)
            while (event := self._next()).get("method") != "Page.loadEventFired":
                self._note(event)

    def value(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Presses a key, such as ArrowLeft with its code 37."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    def resize(self, width: int, height: int = 900) -> None:
        """Makes the tab so many pixels wide and high."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Lets the user prefer a `light` or `dark` scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def save_picture(self, path: Path) -> None:
        """Writes a PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reads], [], [], PATIENCE)
            assert ready, "the browser is silent"
            read = os.read(self._reads, 1 << 16)
            assert read, "the browser has ended"
            self._buffer += read
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])


@contextmanager
def open_browser(program: str) -> Iterator[Tab]:
    """Starts a browser with a profile of its own; it ends with the block."""
    to_browser, from_browser = os.pipe(), os.pipe()
    theirs = {_READS: to_browser[0], _WRITES: from_browser[1]}
    # Above those that the browser reads and writes, or one could take another's place.
    above = {
        fd: fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for fd, one in theirs.items()
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = os.posix_spawn(
            program,
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            {**os.environ, "HOME": profile},
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, end, place) for place, end in above.items()),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,
        )
        for descriptor in (*theirs.values(), *above.values()):
            os.close(descriptor)
        try:
            yield Tab(from_browser[0], to_browser[1])
        finally:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(from_browser[0])
            os.close(to_browser[1])
