# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading bags without ROS: posed images from Image + CameraInfo + TF (or Odometry, PoseStamped).

Topics: of every image topic the CameraInfo beside it (`.../camera_info`), each image with the one of its own stamp; a
16UC1 (mm) or 32FC1 (m) image topic in the frame of a colour camera is its depth. Poses come from TF at the stamps of
the images, interpolated; an Odometry or PoseStamped topic stands in where TF does not lead to the camera, and Odometry
of a body where TF says no more than how the camera sits on it. TF of a namespace (`/robot1/tf`) is a tree of its own.
"""

from __future__ import annotations

import logging
import posixpath
import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.camera_messages import (
    DEPTH_ENCODINGS,
    FULL_RANGE,
    NARROW,
    camera_model,
    depth,
    encoding_of,
    picture,
    value_range,
)
from gld_ros.data.recording import RENAMED, Message, Recording
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.data.transforms import TransformTree
from gld_ros.errors import InvalidRequest, TFError
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.se3 import pose_from_quaternion

log = logging.getLogger(__name__)

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, TF = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"
READ = (IMAGE, COMPRESSED, INFO, TF, ODOMETRY, POSE)
DEPTH_TOLERANCE = 20_000_000  # ns between a colour image and its depth
INFO_TOLERANCE = 20_000_000  # ns between an image and its CameraInfo; farther away the newest one before holds


@dataclass(frozen=True)
class _Calibration:
    """The CameraInfo of an image: its tables are made when the image is read, those of a few lenses are kept."""

    info: Any
    rectified: bool
    where: str

    def pinhole(self) -> Pinhole:
        return camera_model(self.info, self.rectified, self.where)


@dataclass(frozen=True)
class _Image:
    """One image message: where it is (recording, topic, log_time), and what its header says.

    It is read by opening the recording each time: from any thread, at any time.
    """

    recording: Recording
    topic: str
    log_time: int
    stamp: int
    frame_id: str

    def __str__(self) -> str:
        return f"{self.recording.path}: {self.topic} at {self.stamp / 1e9:.6f} s"

    def colour(self, calibration: _Calibration, levels: tuple[int, int]) -> np.ndarray:
        """(H, W, 3) uint8 RGB, undistorted. Raises InvalidRequest for an undecodable image or one of another size."""
        return calibration.pinhole().apply(picture(self._message(), str(self), levels), str(self))

    def depth(self, calibration: _Calibration) -> np.ndarray:
        """(H, W) float32 metres, NaN unknown (REP 118)."""
        return calibration.pinhole().apply(depth(self._message(), str(self)), str(self))

    def _message(self) -> Any:
        with self.recording.reading() as bag:
            for message in bag.messages([self.topic], self.log_time, self.log_time + 1):
                read = self.recording.deserialize(message)
                if _stamp(read) == self.stamp:
                    return read
        raise InvalidRequest(f"{self.recording.path}: the image at {self.stamp} ns on {self.topic} is gone")


class _Bag:
    """Contents of a bag after one pass through it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recording = Recording(path)
        self.images: dict[str, list[_Image]] = {}
        self.encodings: dict[str, str] = {}
        self.ranges: dict[str, tuple[int, int]] = {}  # of the 16-bit values of a topic
        self.infos: dict[str, list[tuple[int, Any]]] = {}
        self.trees: dict[str, TransformTree] = {}  # namespace: its TF
        self.poses: dict[str, list[tuple[int, str, str, np.ndarray]]] = {}  # topic: stamp, parent, child, pose
        self._newest: dict[str, bytes] = {}  # topic of CameraInfo: its bytes after the stamp
        with self.recording.reading() as bag:
            self.types = {topic: RENAMED.get(name, name) for topic, name in bag.topics.items()}
            for message in bag.messages([topic for topic, name in self.types.items() if name in READ]):
                self._add(message, self.types[message.topic], self.recording.deserialize(message))
        self.infos = {topic: sorted(infos, key=lambda info: info[0]) for topic, infos in self.infos.items()}

    def _add(self, raw: Message, type_name: str, message: Any) -> None:
        topic = raw.topic
        if type_name in (IMAGE, COMPRESSED):
            self.encodings.setdefault(topic, encoding_of(message))
            image = _Image(self.recording, topic, raw.log_time, _stamp(message), message.header.frame_id.lstrip("/"))
            self.images.setdefault(topic, []).append(image)
            if values := value_range(message):
                before = self.ranges.get(topic, values)
                self.ranges[topic] = min(before[0], values[0]), max(before[1], values[1])
        elif type_name == INFO:
            infos = self.infos.setdefault(topic, [])
            content = bytes(raw.data[12:])  # after the stamp, in both versions of ROS
            same = infos and self._newest.get(topic) == content
            infos.append((_stamp(message), infos[-1][1] if same else message))
            self._newest[topic] = content
        elif type_name == TF:
            tree = self.trees.setdefault(posixpath.dirname(topic), TransformTree())
            for item in message.transforms:
                parent, child = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
                pose = _pose(item.transform.translation, item.transform.rotation, f"{topic}: {parent} -> {child}")
                tree.add(parent, child, _stamp(item), pose, static=topic.endswith("tf_static"))
        else:
            inner = message.pose.pose if type_name == ODOMETRY else message.pose
            child = message.child_frame_id.lstrip("/") if type_name == ODOMETRY else ""
            pose = _pose(inner.position, inner.orientation, topic)
            entry = (_stamp(message), message.header.frame_id.lstrip("/"), child, pose)
            self.poses.setdefault(topic, []).append(entry)

    def colour_topics(self) -> list[str]:
        """Image topics that are no depth; a compressed one only where its images were not recorded raw, too."""
        colour = [topic for topic in sorted(self.images) if not self._is_depth(topic)]
        raw = {
            (_info_topic(topic), image.stamp)
            for topic in colour
            if self.types[topic] == IMAGE
            for image in self.images[topic]
        }
        return [
            topic
            for topic in colour
            if self.types[topic] == IMAGE
            or not any((_info_topic(topic), image.stamp) in raw for image in self.images[topic])
        ]

    def _is_depth(self, topic: str) -> bool:
        encoding = self.encodings[topic]
        return (
            (self.types[topic] == IMAGE and encoding in DEPTH_ENCODINGS)
            or (encoding == "mono16" and "depth" in topic)
            or "compressedDepth" in encoding
            or topic.endswith("compressedDepth")
        )

    def frames(self, topic: str) -> tuple[list[Frame], str]:
        """Frames of one image topic, or none and the reason. Raises InvalidRequest for a TF that is no tree."""
        images, info_topic = self.images[topic], _info_topic(topic)
        problems = [] if info_topic in self.infos else [f"no CameraInfo on {info_topic}"]
        frame_id = images[0].frame_id
        tree = self._tree(topic, frame_id)
        try:
            stand_in = None if tree.moves(frame_id) else self._stand_in(tree, topic, frame_id)
            root = tree.root(frame_id)
        except TFError as error:
            raise InvalidRequest(f"{self.path}: {topic}: {error}") from None
        if frame_id not in tree and not stand_in:
            problems.append(f"no TF, Odometry or PoseStamped leads to its frame {frame_id!r}")
        if problems:
            return [], ", ".join(problems)
        base = topic.removesuffix("/compressed")
        camera_name = posixpath.dirname(base).strip("/").replace("/", "_") or "camera"
        rectified = bool(re.search(r"(^|_)rect(ified)?(_|$)", posixpath.basename(base)))
        depth_images = self._depth_images(frame_id)
        levels = self._levels(topic)
        frames, lost, reason = [], 0, ""
        for image in images:
            try:
                pose = tree.lookup(root, frame_id, image.stamp)
            except TFError as error:
                lost, reason = lost + 1, str(error)
                continue
            info = _at(self.infos[info_topic], image.stamp)
            calibration = _Calibration(info, rectified, f"{self.path}: {info_topic}")
            camera = calibration.pinhole().camera(pose).check(f"{self.path}: {topic}")
            measured = min(depth_images, key=lambda other: abs(other.stamp - image.stamp), default=None)
            if measured and abs(measured.stamp - image.stamp) > DEPTH_TOLERANCE:
                measured = None
            read_depth = partial(measured.depth, calibration) if measured else None
            read_image = partial(image.colour, calibration, levels)
            frames.append(Frame(str(image), camera_name, image.stamp, camera, read_image, read_depth))
        return frames, f"no pose at any of {lost} image stamps ({reason})"

    def _levels(self, topic: str) -> tuple[int, int]:
        """The 16-bit values that become black and white: one range for all images, so that they stay comparable."""
        low, high = self.ranges.get(topic, FULL_RANGE)
        if high - low >= NARROW:
            return FULL_RANGE
        log.warning(
            "%s: %s: its 16-bit values use %d of 256 grey levels; in all images %d becomes black and %d white",
            self.path, topic, (high - low) // 257 + 1, low, high,
        )  # fmt: skip
        return low, high

    def _depth_images(self, frame_id: str) -> list[_Image]:
        """Depth images in the colour camera's own frame, that is registered to it."""
        for topic, images in self.images.items():
            if self.types[topic] == IMAGE and self._is_depth(topic) and images[0].frame_id == frame_id:
                return images
        return []

    def _tree(self, topic: str, frame_id: str) -> TransformTree:
        """TF of the nearest namespace above a topic that knows the frame; of the only one that has TF; an empty one."""
        above = [name for name in self.trees if topic.startswith(name.rstrip("/") + "/")]
        above.sort(key=len, reverse=True)
        known = [name for name in above if frame_id in self.trees[name]]
        names = known or above or (list(self.trees) if len(self.trees) == 1 else [])
        return self.trees[names[0]] if names else self.trees.setdefault("", TransformTree())

    def _stand_in(self, tree: TransformTree, image_topic: str, frame_id: str) -> str | None:
        """Put an Odometry or PoseStamped topic into the tree, above what leads to `frame_id`; the topic, or None.

        Those of the camera's own namespace come first.
        """
        body = tree.root(frame_id)

        def distance(topic: str) -> int:
            return -len(posixpath.commonpath([topic, image_topic]))

        for topic in sorted(self.poses, key=distance):
            poses = self.poses[topic]
            _, parent, child, _ = poses[0]
            # Odometry of another body, which TF does not connect to this camera; or a pose of nobody knows which frame.
            if child != body and (child or frame_id in tree):
                continue
            for stamp, _, _, pose in poses:
                tree.add(parent or "map", body, stamp, pose, static=False)
            return topic
        return None


def read_bag(path: str | Path) -> Sequence:
    """Posed frames of all cameras of a bag, in time order; images are read when asked for.

    Frames outside the recorded poses are left out. Raises InvalidRequest naming the file and what is missing: images,
    CameraInfo, poses; or that it is truncated, empty or unreadable.
    """
    path = Path(path)
    bag = _Bag(path)
    colour = bag.colour_topics()
    if not colour:
        topics = ", ".join(f"{topic} ({name})" for topic, name in bag.types.items())
        raise InvalidRequest(
            f"{path}: no colour or grey images in this {bag.recording.kind}; its topics: {topics or 'none'}"
        )
    frames: list[Frame] = []
    missing: list[str] = []
    for topic in colour:
        found, problem = bag.frames(topic)
        frames += found
        if not found:
            missing.append(f"{topic}: {problem}")
    if not frames:
        raise InvalidRequest(f"{path}: no posed images. " + "; ".join(missing))
    # REP 103 asks for metres; `write_bag` notes where a sequence is not in them, or does not say.
    metric = {"true": True, "false": False}.get(bag.recording.notes.get("metric", "true"))
    return Sequence(path.resolve().stem, path, sorted(frames, key=lambda frame: frame.stamp), metric)


def _info_topic(image_topic: str) -> str:
    """The CameraInfo beside an image topic, as image_transport's cameras have it."""
    return posixpath.join(posixpath.dirname(image_topic.removesuffix("/compressed")), "camera_info")


def _at(infos: list[tuple[int, Any]], stamp: int) -> Any:
    """The CameraInfo of an image's stamp; one that was sent once, or rarely, holds until the next."""
    after = bisect_left(infos, stamp, key=lambda info: info[0])
    near = min(infos[max(after - 1, 0) : after + 1], key=lambda info: abs(info[0] - stamp))
    return near[1] if abs(near[0] - stamp) <= INFO_TOLERANCE else infos[max(after - 1, 0)][1]


def _stamp(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _pose(position: Any, turn: Any, where: str) -> np.ndarray:
    return pose_from_quaternion((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w), where)
