"""A page in a real Chromium, driven by its own protocol."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_SECONDS = 60


class Tab:
    """One tab: what is asked of it waits for its answer."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)
        self.complaints: list[str] = []
        """What the browser refused or failed at, such as what a content security policy forbids."""
        self.call("Page.enable")
        self.call("Log.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = self._receive()
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    def _receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._connection.recv(_SECONDS))
        if told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
            self.complaints.append(told["params"]["entry"]["text"])
        if told.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["params"]["exceptionDetails"]))
        return told

    def open(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])
        self._load("Page.navigate", url=address)

    def _load(self, method: str, **params: Any) -> None:
        self.call(method, **params)
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if self._receive().get("method") == "Page.loadEventFired":
                return
        raise AssertionError("the page did not load")

    def run(self, code: str) -> Any:
        """Return what a script comes to; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def await_true(self, code: str, seconds: float = _SECONDS) -> None:
        end = time.monotonic() + seconds
        while not self.run(code):
            assert time.monotonic() < end, code
            time.sleep(0.2)

    def click(self, selector: str) -> None:
        """Click on what is seen first of a selector, and wait for the page or the place that it leads to."""
        before = self.run("location.href")
        x, y = self.run(
            f"(() => {{ const one = document.querySelector({selector!r}); one.scrollIntoView({{block: 'center'}});"
            "const at = one.getClientRects()[0]; return [at.left + at.width / 2, at.top + at.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.await_true(f"location.href !== {before!r} && document.readyState === 'complete'")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}[key]
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def image(self, most: int = 8000) -> bytes:
        """Return how it looks from its top, so many pixels high at most, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])


@contextmanager
def tab(chromium: list[str]) -> Iterator[Tab]:
    """Give a tab of a browser of its own."""
    import httpx

    profile = Path(next(each for each in chromium if each.startswith("--user-data-dir=")).partition("=")[2])
    port_file = profile / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    browser = subprocess.Popen(
        [*chromium, "--remote-debugging-port=0", "--hide-scrollbars", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + _SECONDS
        while not port_file.exists() or "\n" not in port_file.read_text():
            assert time.monotonic() < end, "Chromium did not start"
            time.sleep(0.1)
        port = port_file.read_text().split("\n")[0]
        pages = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
        address = next(each["webSocketDebuggerUrl"] for each in pages if each["type"] == "page")
        with connect(address, max_size=None, proxy=None) as connection:
            yield Tab(connection)
    finally:
        browser.terminate()
        browser.wait(20)
