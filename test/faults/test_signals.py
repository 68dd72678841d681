# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM at any moment end the node, soon and without a traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

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


SIGNALS = [(moment, number) for moment in MOMENTS for number in (signal.SIGINT, signal.SIGTERM)]
SIGNALS.remove(("becomes active", signal.SIGINT))  # see `ENDING`


@pytest.mark.parametrize("moment, number", SIGNALS)
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


ENDING = {  # what the log has to say before the first signal, and parameters
    "gld_node": ("is ready", {"autostart": True}),
    "gld_sim_camera": ("the camera plays", {"width": 32, "height": 24}),
    "gld_replay": ("the camera plays", {"loop": True, "rate": 100.0}),
}


@pytest.mark.parametrize("name", ENDING)
def test_further_signals_while_a_node_ends_change_nothing(tmp_path, name):
    """Ctrl-C again and again: until the process is gone, its exit status is 0."""
    text, parameters = ENDING[name]
    if name == "gld_replay":
        camera = Camera(np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]]), np.eye(4), 32, 24)
        view = SourceView(np.zeros((24, 32, 3), np.uint8), camera, 1)
        parameters = {**parameters, "sequence": write_folder(tmp_path / "sequence", [view])}
    log = tmp_path / "log"
    arguments = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, SCRIPT.with_name(name), "--ros-args", *arguments], stdout=file, stderr=file
        )
    try:
        end = time.monotonic() + PATIENCE
        while text not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        while process.poll() is None:
            assert time.monotonic() < end, log.read_text()
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in log.read_text(), (process.returncode, log.read_text())
