# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that run ROS nodes: started with parameters, watched, and ended whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory

from gld_ros import allocator
from gld_ros.errors import GLDError

LOG_LINES = 15  # of a process that died, shown in the error


class ProcessError(GLDError):
    """A child process ended early, or the time is up; the message holds the end of its log."""


def own_domain(keep: bool = False) -> int:
    """A DDS domain of this process and its children, on this machine only, with room for images; to be called before
    rclpy.init. keep: leave what the environment says already. Returns its number."""
    settings = {
        "ROS_DOMAIN_ID": str(_reserved_domain()[0]),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(_dds_profile()),
    }
    os.environ.update({name: os.environ.get(name, value) if keep else value for name, value in settings.items()})
    return int(os.environ["ROS_DOMAIN_ID"])


@cache
def _reserved_domain() -> tuple[int, socket.socket]:
    """A domain that no other process of this machine got here, and what reserves it: a port that DDS leaves free."""
    for number in range(os.getpid(), os.getpid() + 100):
        domain, port = 1 + number % 100, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            port.bind(("127.0.0.1", 7405 + 250 * domain))  # DDS has 7400, 7401 and those from 7410 on
            return domain, port
        except OSError:
            port.close()
    raise ProcessError("all DDS domains from 1 to 100 are taken on this machine")


def _dds_profile() -> Path:
    """config/fastdds.xml, which lets uncompressed images through unharmed: this checkout's, or the installed one."""
    file = Path(__file__).parents[3] / "config" / "fastdds.xml"
    return file if file.exists() else Path(get_package_share_directory("gld_ros")) / "config" / "fastdds.xml"


class Processes:
    """Nodes started from modules with a `main()`; logs go to FOLDER/NAME.log. deadline: `time.monotonic()` seconds."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self._folder, self._deadline = folder, deadline
        self._children: dict[str, subprocess.Popen] = {}

    def start(self, name: str, module: str, parameters: dict[str, Any]) -> None:
        """Run `module`.main() with these ROS parameters."""
        code = f"import sys; from {module} import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={json.dumps(value)}"]  # JSON is YAML, which rcl reads
        with open(self._folder / f"{name}.log", "wb") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**allocator.SETTINGS, **os.environ},
                start_new_session=True,  # Ctrl-C reaches the children through `stop`, once
            )

    def pid(self, name: str) -> int:
        """Process number of a child."""
        return self._children[name].pid

    def check(self) -> None:
        """Raise ProcessError if a child has ended or the deadline has passed."""
        for name, child in self._children.items():
            if child.poll() is not None:
                log = (self._folder / f"{name}.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
                raise ProcessError(f"{name} ended with exit code {child.returncode}:\n  " + "\n  ".join(log))
        if time.monotonic() > self._deadline:
            raise ProcessError("the time limit has passed")

    def stop(self) -> None:
        """End all children: SIGINT, then SIGTERM, then SIGKILL."""
        for how, patience in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            running = [child for child in self._children.values() if child.poll() is None]
            for child in running:
                child.send_signal(how)
            end = time.monotonic() + patience
            for child in running:
                try:
                    child.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
