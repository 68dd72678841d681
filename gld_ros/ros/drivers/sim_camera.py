# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_sim_camera: the camera of a simulated robot that drives through a procedural room."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from gld_ros.data.rig import Instant
from gld_ros.data.sequence import DEFAULT_CAMERA
from gld_ros.data.simulation import Robot
from gld_ros.ros.declarations import declare, fixed
from gld_ros.ros.drivers.player import Player, PlayerNode, PlayerParameters, frame_numbers
from gld_ros.ros.signals import run

AHEAD = 8  # instants rendered before they are due


@dataclass(frozen=True)
class SimCameraParameters(PlayerParameters):
    seed: int = fixed(0, "which room and which drive through it", (0, 2**31 - 1))
    frames: int = fixed(300, "length of the drive", (1, 1_000_000))
    width: int = fixed(320, "width of the images, pixels", (16, 4096))
    height: int = fixed(240, "height of the images, pixels", (16, 4096))
    hold_out: str = fixed("", "frames of the drive that are not published, e.g. 2,4,6")
    rate: float = fixed(10.0, "instants a second; 0: as their stamps say", (0.0, 1000.0))


class SimCameraNode(PlayerNode):
    """Publishes camera/image_raw[/compressed], camera/camera_info, camera/depth/image_raw, and TF
    map -> odom -> base_link -> camera_optical_frame."""

    def __init__(self) -> None:
        super().__init__("gld_sim_camera")
        p = declare(self, SimCameraParameters)
        self._hold_out = frame_numbers(p.hold_out)
        self._robot = Robot(p.seed, p.frames, p.width, p.height)
        self.player = Player(self, p, [DEFAULT_CAMERA], self._robot.static, self._instants)

    def _instants(self) -> Iterator[Instant]:
        """Rendered ahead by a thread, so that a slow frame does not break the rate."""
        rendered: queue.Queue[Instant | Exception | None] = queue.Queue(AHEAD)
        stop = threading.Event()

        def put(item: Instant | Exception | None) -> bool:
            while not stop.is_set():
                try:
                    rendered.put(item, timeout=0.2)
                    return True
                except queue.Full:
                    continue
            return False

        def render() -> None:
            try:
                for instant in self._robot.drive(self._hold_out):
                    if not put(instant):
                        return
                put(None)
            except Exception as error:  # raised again in the playing thread
                put(error)

        renderer = threading.Thread(target=render, name="render", daemon=True)
        renderer.start()
        try:
            while (item := rendered.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            renderer.join()  # torch does not survive the end of the process under a running thread


def main() -> int:
    return run("gld_sim_camera", SimCameraNode)


if __name__ == "__main__":
    sys.exit(main())
