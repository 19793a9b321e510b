"""Chromium without a screen, driven through its debugging protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from ..needs import skip_without

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = 30.0


class Browser:
    """One page; a context manager. Where there is no Chromium the test is skipped."""

    def __init__(self, url, size=(1000, 760)):
        try:
            from websockets.sync import client
        except ImportError:
            skip_without("browser", "no websockets package: extra 'dev'")
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            skip_without("browser", "no Chromium here (Debian: apt-get install chromium)")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        flags += ["--no-first-run", "--disable-extensions", "--mute-audio"]
        flags += [f"--window-size={size[0]},{size[1]}", f"--user-data-dir={self._folder.name}"]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._number = 0
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(
            client.connect(self._page(), max_size=None, compression=None)
        )
        self.ask("Page.enable")
        self.ask("Page.navigate", url=url)

    def _page(self):
        port_file = Path(self._folder.name) / "DevToolsActivePort"
        until = time.monotonic() + START_S
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > until or self._process.poll() is not None:
                self._process.kill()
                skip_without("browser", "Chromium does not start here")
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
            time.sleep(0.05)

    def ask(self, method, **params):
        """A command of the protocol, and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=START_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression):
        """What a JavaScript expression gives, as plain data."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression, seconds=20.0):
        """Waits for an expression to become true, and gives its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.value(expression)
            if value:
                return value
            assert time.monotonic() < end, f"{expression} stays {value!r}"
            time.sleep(0.1)

    def drag(self, start, end):
        """The left button pressed at one place of the page and let go at another."""
        # Chromium drops input that arrives before the page was painted.
        painted = "requestAnimationFrame(() => requestAnimationFrame(done))"
        self.value(f"new Promise(done => {painted}).then(() => true)")
        places = [("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)]
        for kind, (x, y) in places:
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self):
        """The page as PNG bytes."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def close(self):
        """End the browser."""
        self._open.close()
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
