# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM at any moment end the node, soon and without a traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gld_node"
PATIENCE = 60.0

#: What the log has to say before the signal, and parameters.
MOMENTS = {
    "interpreter starts": (None, {}),
    "imports": ("importing rclpy", {}),
    "model loads": ("loading the model", {"autostart": True}),
    "becomes active": ("is ready", {"autostart": True}),
}
# Runs the script, and says when it imports what.
START = """
import sys
import runpy
class Teller:
    def find_spec(self, name, path=None, target=None):
        if name == "rclpy":
            print("importing rclpy", file=sys.stderr, flush=True)
sys.meta_path.insert(0, Teller())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal(tmp_path, moment, number):
    text, parameters = MOMENTS[moment]
    log = tmp_path / "log"
    arguments = [f"{name}:={value}" for name, value in parameters.items()]
    arguments = [part for argument in arguments for part in ("-p", argument)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", START, SCRIPT, "--ros-args", *arguments], stdout=file, stderr=file
        )
    try:
        end = time.monotonic() + PATIENCE
        while text and text not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        process.send_signal(number)
        began = time.monotonic()
        status = process.wait(PATIENCE)
        took = time.monotonic() - began
    finally:
        process.kill()
    print(f"{moment}, {number.name}: {took:.2f} s, exit status {status}")
    assert status in (0, -number), log.read_text()
    assert "Traceback" not in log.read_text()
