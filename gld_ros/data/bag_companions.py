# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files beside a bag that say what was not recorded: the calibration of its camera, and its trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gld_ros.data.bag_images import BagImage, info_topic
from gld_ros.data.camera_info_file import read_camera_info
from gld_ros.data.trajectory import read_tum_trajectory
from gld_ros.data.transforms import TransformTree
from gld_ros.errors import InvalidRequest

#: Images by topic, in the order of their stamps.
Images = Mapping[str, Sequence[BagImage]]


def advice(reasons: str) -> str:
    """The options that give what a bag does not hold, by the reasons why it has no frames."""
    options = {"no CameraInfo": "--calibration FILE", "no TF": "--trajectory FILE"}
    found = [option for lack, option in options.items() if lack in reasons]
    return f"; {' and '.join(found)} may stand in" if found else ""


def calibrated(file: Path, images: Images, infos: Mapping[str, Any]) -> dict[str, list[tuple[int, Any]]]:
    """CameraInfo of a calibration file, by the topic and stamp at which it stands in.

    images: of colour cameras; infos: the CameraInfo that was recorded. The file is of the one camera without
    CameraInfo or, where each has it, of the only camera. Raises InvalidRequest where there are several such cameras.
    """
    topics = sorted({info_topic(topic) for topic in images})
    missing = [topic for topic in topics if topic not in infos] or topics
    if len(missing) > 1:
        raise InvalidRequest(
            f"{file}: one calibration, and {len(missing)} cameras that it may be of: {', '.join(missing)}; record "
            "their CameraInfo, or choose one: rosbag2:PATH?camera=NAME"
        )
    info = read_camera_info(file)
    topic = next(topic for topic in images if info_topic(topic) == missing[0])
    size = images[topic][0].size()
    if size not in (None, (info.width, info.height)):
        raise InvalidRequest(
            f"{file}: it is of {info.width}x{info.height} pixels, the images on {topic} have {size[0]}x{size[1]}"
        )
    return {missing[0]: [(0, info)]}


def follow_trajectory(
    file: Path, frame: str | None, images: Images, tree_of: Callable[[str, str], TransformTree]
) -> None:
    """Put the poses of a file in the TUM format into TF, in the place of what moves the cameras.

    frame: that the poses are of; None for the images' own. tree_of: (topic, frame) -> its TF.
    Raises InvalidRequest where there are several frames to choose from, or TF does not connect it with a camera.
    """
    trajectory = read_tum_trajectory(file)
    cameras = {topic: series[0].frame_id for topic, series in images.items()}
    own = sorted(set(cameras.values()))
    if frame is None and len(own) > 1:
        raise InvalidRequest(
            f"{file}: of which camera is this trajectory? The images are in the frames {', '.join(own)}; "
            "--trajectory-frame (trajectory_frame=... in a line of data) names it"
        )
    moved: list[TransformTree] = []
    for topic, camera in cameras.items():
        tree, followed = tree_of(topic, camera), frame or camera
        if not any(tree is other for other in moved):
            moved.append(tree)
            tree.follow(followed, trajectory)
        if not tree.is_followed(camera):
            raise InvalidRequest(
                f"{file}: the trajectory is of the frame {followed!r}, and TF does not lead from there to {camera!r}, "
                f"the frame of {topic}"
            )
