"""A real Chromium, driven by its DevTools protocol over a pipe: no package stands between.

`Browser.path()` says where one is; a test that needs one skips itself where there is none.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Browser:
    """One page.  `requests`: every address that it asked for; `errors`: what its scripts met."""

    def __init__(self, path: str):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs, self._out), (self._in, other) = os.pipe(), os.pipe()

        def pipes() -> None:  # the browser reads descriptor 3 and writes 4
            a, b = os.dup(theirs), os.dup(other)
            os.dup2(a, 3)
            os.dup2(b, 4)

        flags = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        )
        flags += ("--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars")
        folder = f"--user-data-dir={self._folder.name}"
        self._process = subprocess.Popen(
            [path, *flags, folder, "about:blank"],
            preexec_fn=pipes,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(other)
        self._count, self._rest, self._session = 0, b"", ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    @staticmethod
    def path() -> str | None:
        return next((found for name in NAMES if (found := shutil.which(name))), None)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    # -- the protocol ----------------------------------------------------------------------------------------------------------------

    def do(self, method: str, **given: Any) -> dict[str, Any]:
        self._count += 1
        order = {"id": self._count, "method": method, "params": given}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            told = self._next(60)
            if told.get("id") == self._count:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser says nothing")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(line)
        given = told.get("params", {})
        if told.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(given["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif told.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(given["entry"]["text"])
        return told

    # -- what a person does ----------------------------------------------------------------------------------------------------------

    def open(self, address: str) -> None:
        self.do("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def say(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description"))
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while not (found := self.say(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}; {self.errors}")
            time.sleep(0.03)
        return found

    def focus(self, query: str) -> None:
        """And what stands there selected, so that what is typed takes its place."""
        self.say(f"(one => {{ one.focus(); one.select?.(); }})(document.querySelector({json.dumps(query)}))")

    def type(self, text: str) -> None:
        """Letter by letter."""
        for letter in text:
            self.do("Input.insertText", text=letter)

    def press(self, key: str, control: bool = False) -> None:
        code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}[key]
        for kind in ("keyDown", "keyUp"):
            self.do(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=2 * control,
            )

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Of the whole page."""
        found = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
