"""A headless Chromium that a test drives through its debugging port. Skips the test where there is none."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

_OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "about:blank",
]  # fmt: skip


class Browser:
    """One tab."""

    def __init__(self, connection: ClientConnection, port: int) -> None:
        self._connection = connection
        self._port = port
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """Messages of the console and violations of the content security policy."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                self.complaints.append(json.dumps(message["params"]))

    def open(self, url: str, *, width: int = 1200, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, script: str, *, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, f"never became true: {script}"
            time.sleep(0.05)

    def fill(self, selector: str, text: str) -> None:
        events = "'input', 'change'"
        self.run(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.value = {json.dumps(text)}; "
            f"for (const name of [{events}]) node.dispatchEvent(new Event(name, {{ bubbles: true }})); }})()"
        )

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def screenshot(self, path: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    @contextmanager
    def downloads_to(self, folder: Path) -> Iterator[None]:
        version = httpx.get(f"http://127.0.0.1:{self._port}/json/version").json()
        # The setting holds as long as the connection that made it.
        with connect(version["webSocketDebuggerUrl"]) as whole:
            wanted = {"behavior": "allow", "downloadPath": str(folder)}
            whole.send(json.dumps({"id": 1, "method": "Browser.setDownloadBehavior", "params": wanted}))
            whole.recv(timeout=30)
            yield


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium or chrome on this machine")
    process = subprocess.Popen(
        [found, f"--user-data-dir={profile}", *_OPTIONS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = int(port_file.read_text().splitlines()[0])
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        with connect(address, max_size=None) as connection:
            yield Browser(connection, port)
    finally:
        process.terminate()
        process.wait(20)
