# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_replay: plays a posed sequence (transforms.json, COLMAP) or a bag as a camera driver would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from gld_ros.data.bag_writer import MASKS_LOST
from gld_ros.data.rig import Instant, Rig
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.ros.declarations import declare, fixed
from gld_ros.ros.drivers.player import Player, PlayerNode, PlayerParameters, frame_numbers
from gld_ros.ros.signals import run


@dataclass(frozen=True)
class ReplayParameters(PlayerParameters):
    sequence: str = fixed(
        "", "a bag, a folder of frames and poses (transforms.json, COLMAP, ...), or KIND:PATH?OPTION=VALUE; needed"
    )
    hold_out: str = fixed("", "frames that are not published: numbers in the sequence, e.g. 2,4,6")
    calibration: str = fixed("", "file with the calibration of a bag's camera: camera_info YAML of ROS")
    trajectory: str = fixed("", "file with the poses of a bag's camera: stamp tx ty tz qx qy qz qw a line (TUM)")
    trajectory_frame: str = fixed("", "TF frame that the trajectory is of; empty: that of the images")
    skip_bad_frames: bool = fixed(False, "leave bad frames out; those left are counted from 0")


class ReplayNode(PlayerNode):
    """Publishes NAME/image_raw[/compressed], NAME/camera_info, NAME/depth/image_raw and TF of every camera NAME."""

    def __init__(self) -> None:
        super().__init__("gld_replay")
        parameters = declare(self, ReplayParameters)
        self._hold_out = frame_numbers(parameters.hold_out)
        if not parameters.sequence:
            raise InvalidRequest("parameter sequence is empty; the path of a folder or a bag is expected")
        names = ("calibration", "trajectory", "trajectory_frame", "skip_bad_frames")
        options = {name: getattr(parameters, name) or None for name in names}
        self._sequence = open_sequence(parameters.sequence, **options)
        self._rig = Rig(self._sequence)
        self.player = Player(self, parameters, self._sequence.camera_names, self._rig.static, self._instants)

    def _instants(self) -> Iterator[Instant]:
        left_out = {id(frame) for index, frame in enumerate(self._sequence.frames) if index in self._hold_out}
        for frames in self._sequence.instants():
            kept = [frame for frame in frames if id(frame) not in left_out]
            if kept:
                # The main camera moves base_link, so its pose is sent even where its image is left out.
                moving = [transform for frame in frames if (transform := self._rig.moving(frame))]
                views = [(frame.camera_name, frame.view()) for frame in kept]
                if any(view.mask is not None for _, view in views):
                    self.get_logger().warning(f"{self._sequence.path}: some images have masks; {MASKS_LOST}", once=True)
                yield Instant(kept[0].stamp, views, moving)


def main() -> int:
    return run("gld_replay", ReplayNode)


if __name__ == "__main__":
    sys.exit(main())
