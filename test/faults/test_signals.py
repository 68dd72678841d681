# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM at any moment end a node, soon and without a traceback."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dds import PATIENCE

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

SCRIPTS = Path(__file__).parents[2] / "scripts"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
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


@contextmanager
def process(log, name, text, parameters):
    """The node of a script, once its log says `text`."""
    arguments = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
    with log.open("wb") as file:
        command = [sys.executable, "-c", START, SCRIPTS / name, "--ros-args", *arguments]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        end = time.monotonic() + PATIENCE
        while text not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "text, parameters",
    (("", {}), ("importing rclpy", {}), ("loading the model", {"autostart": True})),
    ids=["interpreter starts", "imports", "model loads"],
)
def test_signal(tmp_path, text, parameters, number):
    with process(tmp_path / "log", "gld_node", text, parameters) as node:
        node.send_signal(number)
        assert node.wait(PATIENCE) in (0, -number), (tmp_path / "log").read_text()


ENDING = {  # what the log has to say before the first signal, and parameters
    "gld_node": ("is ready", {"autostart": True}),
    "gld_sim_camera": ("the camera plays", {"width": 32, "height": 24}),
    "gld_replay": ("the camera plays", {"loop": True, "rate": 100.0}),
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ENDING)
def test_a_node_that_runs_ends_with_status_0(tmp_path, name, number):
    """By Ctrl-C again and again until the process is gone, too."""
    text, parameters = ENDING[name]
    if name == "gld_replay":
        camera = Camera(np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]]), np.eye(4), 32, 24)
        view = SourceView(np.zeros((24, 32, 3), np.uint8), camera, 1)
        parameters = {**parameters, "sequence": write_folder(tmp_path / "sequence", [view])}
    with process(tmp_path / "log", name, text, parameters) as node:
        node.send_signal(number)
        end = time.monotonic() + PATIENCE
        while node.poll() is None:
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            if number == signal.SIGINT:
                node.send_signal(number)
            time.sleep(0.005)
    assert node.returncode == 0, (node.returncode, (tmp_path / "log").read_text())


def test_a_process_that_hangs_at_its_end_is_ended():
    """As Fast DDS does now and then: in C, without giving Python's lock back."""
    code = "import ctypes; from gld_ros.ros import signals; signals.HANG_TIMEOUT = 0.5; signals.ignore_signals()"
    command = [sys.executable, "-c", f"{code}; ctypes.PyDLL(None).sleep(600)"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
