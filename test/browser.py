# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A test's browser: headless Chromium, driven by the DevTools protocol. It reaches this machine only."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
]


def find_browser():
    """Path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One tab of `width` x `height` pixels that shows `url`; `folder` takes the profile and the log."""

    def __init__(self, url: str, folder: Path, width: int, height: int, patience: float = 60.0):
        from websockets.sync.client import connect

        folder.mkdir()
        self._patience = patience
        environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        flags = [*FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen([find_browser(), *flags, "about:blank"], stderr=log, env=environment)
        try:
            ready = folder / "DevToolsActivePort"
            self.wait(lambda: ready.exists() and len(ready.read_text().split()) == 2, "the browser")
            port = ready.read_text().split()[0]
            tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=patience))
            (tab,) = [tab for tab in tabs if tab["type"] == "page"]
            self._socket = connect(tab["webSocketDebuggerUrl"], max_size=None)
            self._numbers = itertools.count(1)
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.call("Emulation.setDeviceMetricsOverride", **size)
            self.call("Page.navigate", url=url)
        except BaseException:
            self._process.kill()
            raise

    def close(self):
        """As often as one likes."""
        self._process.terminate()
        self._process.wait(timeout=30)
        self._socket.close()

    def call(self, method, **parameters):
        """The result of a command of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=self._patience))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def evaluate(self, script):
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def text(self, selector):
        """The text of the first element that fits, "" where none does."""
        return self.evaluate(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''")

    def click(self, label):
        """On the control with this label."""
        script = f"[...document.querySelectorAll('label')].find(l => l.innerText.trim() == {json.dumps(label)}).click()"
        self.evaluate(script)

    def screenshot(self):
        """(H, W, 3) uint8."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def wait(self, condition, what):
        """Until `condition()` holds; its value."""
        end = time.monotonic() + self._patience
        while not (found := condition()):
            assert time.monotonic() < end, f"{what}: nothing within {self._patience:g} s"
            time.sleep(0.1)
        return found
