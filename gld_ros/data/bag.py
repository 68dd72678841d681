# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading rosbag2 (sqlite3 or mcap) without ROS: posed images from Image + CameraInfo + TF (or Odometry, PoseStamped).

Topics: of every image topic the CameraInfo beside it (`.../camera_info`); a 16UC1 (mm) or 32FC1 (m) image topic in the
frame of a colour camera is its depth. Poses come from TF at the image stamps, interpolated; an Odometry or PoseStamped
topic stands in where TF does not lead to the camera, and Odometry of a body where TF says no more than how the camera
sits on it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.image import message_to_cvimage
from rosbags.typesys import Stores, get_typestore
from ruamel.yaml import YAML

from gld_ros.data.sequence import Frame, Sequence
from gld_ros.data.transforms import TransformTree
from gld_ros.errors import InvalidRequest, TFError
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.distortion import Pinhole, undistort
from gld_ros.geometry.se3 import pose_from_quaternion

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, TF = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"
DEPTH_ENCODINGS = ("16UC1", "32FC1", "mono16")
DEPTH_TOLERANCE = 20_000_000  # ns between a colour image and its depth


@dataclass(frozen=True)
class _Image:
    """One image message: where it is (bag, topic, log_time), and what its header says.

    It is read by opening the bag each time: from any thread, at any time.
    """

    path: Path
    topic: str
    log_time: int
    stamp: int
    frame_id: str

    def __str__(self) -> str:
        return f"{self.path}: {self.topic} at {self.stamp / 1e9:.6f} s"

    def colour(self, model: Pinhole) -> np.ndarray:
        """(H, W, 3) uint8 RGB, undistorted. Raises InvalidRequest for an undecodable image or one of another size."""
        return model.apply(self._decoded("rgb8"), str(self))

    def depth(self, model: Pinhole) -> np.ndarray:
        """(H, W) float32 metres, NaN unknown (REP 118)."""
        raw = self._decoded(None)
        metres = raw.astype(np.float32) * np.float32(0.001 if raw.dtype == np.uint16 else 1)
        metres = np.where(np.isfinite(metres) & (metres > 0), metres, np.nan).astype(np.float32)
        return model.apply(metres, str(self))

    def _decoded(self, encoding: str | None) -> np.ndarray:
        message = self._message()
        try:
            return np.array(message_to_cvimage(message, encoding))
        except Exception as error:  # what a decoder raises for broken data differs by codec
            raise InvalidRequest(f"{self}: the image cannot be decoded ({error})") from None

    def _message(self) -> Any:
        with _reading(self.path) as reader:
            connections = [c for c in reader.connections if c.topic == self.topic]
            for connection, _, data in reader.messages(connections, self.log_time, self.log_time + 1):
                message = reader.deserialize(data, connection.msgtype)
                if _stamp(message) == self.stamp:
                    return message
        raise InvalidRequest(f"{self.path}: the image at {self.stamp} ns on {self.topic} is gone")


class _Bag:
    """Contents of a bag after one pass through it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[str, list[_Image]] = {}
        self.encodings: dict[str, str] = {}
        self.infos: dict[str, Any] = {}
        self.tree = TransformTree()
        self.poses: dict[str, list[tuple[int, str, str, np.ndarray]]] = {}  # topic: stamp, parent, child, pose
        with _reading(path) as reader:
            wanted = [c for c in reader.connections if c.msgtype in (IMAGE, COMPRESSED, INFO, TF, ODOMETRY, POSE)]
            for connection, log_time, data in reader.messages(wanted) if wanted else ():
                message = reader.deserialize(data, connection.msgtype)
                self._add(connection.topic, connection.msgtype, log_time, message)
            self.topics = sorted(f"{c.topic} ({c.msgtype})" for c in reader.connections)

    def _add(self, topic: str, type_name: str, log_time: int, message: Any) -> None:
        if type_name in (IMAGE, COMPRESSED):
            self.encodings.setdefault(topic, message.encoding if type_name == IMAGE else message.format)
            image = _Image(self.path, topic, log_time, _stamp(message), message.header.frame_id.lstrip("/"))
            self.images.setdefault(topic, []).append(image)
        elif type_name == INFO:
            self.infos.setdefault(topic, message)
        elif type_name == TF:
            for item in message.transforms:
                parent, child = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
                pose = _pose(item.transform.translation, item.transform.rotation, f"{topic}: {parent} -> {child}")
                self.tree.add(parent, child, _stamp(item), pose, static=topic.endswith("tf_static"))
        else:
            inner = message.pose.pose if type_name == ODOMETRY else message.pose
            child = message.child_frame_id.lstrip("/") if type_name == ODOMETRY else ""
            pose = _pose(inner.position, inner.orientation, topic)
            entry = (_stamp(message), message.header.frame_id.lstrip("/"), child, pose)
            self.poses.setdefault(topic, []).append(entry)

    def colour_topics(self) -> list[str]:
        """Image topics that are no depth, raw before compressed where both were recorded."""
        topics = []
        for topic, encoding in self.encodings.items():
            is_depth = encoding in DEPTH_ENCODINGS[:2] or (encoding == "mono16" and "depth" in topic)
            raw = topic.removesuffix("/compressed")
            if not is_depth and "compressedDepth" not in encoding and not topic.endswith("compressedDepth"):
                if raw == topic or raw not in self.encodings:
                    topics.append(topic)
        return sorted(topics)

    def frames(self, topic: str) -> tuple[list[Frame], str]:
        """Frames of one image topic, or none and the reason."""
        images = self.images[topic]
        base = topic.removesuffix("/compressed")
        info_topic = posixpath.join(posixpath.dirname(base), "camera_info")
        problems = [] if info_topic in self.infos else [f"no CameraInfo on {info_topic}"]
        frame_id = images[0].frame_id
        stand_in = None if self.tree.moves(frame_id) else self._stand_in(frame_id)
        if frame_id not in self.tree and not stand_in:
            problems.append(f"no TF, Odometry or PoseStamped leads to its frame {frame_id!r}")
        if problems:
            return [], ", ".join(problems)
        info = self.infos[info_topic]
        model = _pinhole(info, base, f"{self.path}: {info_topic}")
        camera_name = posixpath.dirname(base).strip("/").replace("/", "_") or "camera"
        depth = self._depth_images(frame_id)
        root = self.tree.root(frame_id)
        frames, lost, reason = [], 0, ""
        for image in images:
            try:
                pose = self.tree.lookup(root, frame_id, image.stamp)
            except TFError as error:
                lost, reason = lost + 1, str(error)
                continue
            camera = Camera(model.K, pose, info.width, info.height).check(f"{self.path}: {topic}")
            measured = min(depth, key=lambda other: abs(other.stamp - image.stamp), default=None)
            if measured and abs(measured.stamp - image.stamp) > DEPTH_TOLERANCE:
                measured = None
            read_depth = partial(measured.depth, model) if measured else None
            frames.append(Frame(str(image), camera_name, image.stamp, camera, partial(image.colour, model), read_depth))
        return frames, f"no pose at any of {lost} image stamps ({reason})"

    def _depth_images(self, frame_id: str) -> list[_Image]:
        """Depth images in the colour camera's own frame, that is registered to it."""
        for topic, images in self.images.items():
            encoding = self.encodings[topic]
            is_depth = encoding in DEPTH_ENCODINGS[:2] or (encoding in DEPTH_ENCODINGS and "depth" in topic)
            if is_depth and images[0].frame_id == frame_id:
                return images
        return []

    def _stand_in(self, frame_id: str) -> str | None:
        """Put an Odometry or PoseStamped topic into the tree, above what leads to `frame_id`; the topic, or None."""
        body = self.tree.root(frame_id)
        for topic, poses in self.poses.items():
            _, parent, child, _ = poses[0]
            # Odometry of another body, which TF does not connect to this camera; or a pose of nobody knows which frame.
            if child != body and (child or frame_id in self.tree):
                continue
            for stamp, _, _, pose in poses:
                self.tree.add(parent or "map", body, stamp, pose, static=False)
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
        raise InvalidRequest(f"{path}: no colour or grey images in it; its topics: {', '.join(bag.topics) or 'none'}")
    frames: list[Frame] = []
    missing: list[str] = []
    for topic in colour:
        found, problem = bag.frames(topic)
        frames += found
        if not found:
            missing.append(f"{topic}: {problem}")
    if not frames:
        raise InvalidRequest(f"{path}: no posed images. " + "; ".join(missing))
    return Sequence(path.resolve().stem, path, sorted(frames, key=lambda frame: frame.stamp), _is_metric(path))


def _pinhole(info: Any, image_topic: str, where: str) -> Pinhole:
    """The pinhole of a CameraInfo: P of a rectified topic, else K and D."""
    rectified = "rect" in posixpath.basename(image_topic)
    K = (info.p.reshape(3, 4)[:, :3] if rectified else info.k.reshape(3, 3)).astype(np.float64)
    return undistort(K + HALF_PIXEL, () if rectified else info.d, info.distortion_model, info.width, info.height, where)


def _is_metric(path: Path) -> bool | None:
    """True, as REP 103 asks, unless `write_bag` noted that the sequence was not, or did not say."""
    file = path / "metadata.yaml"
    if not file.exists():
        return True
    information = YAML(typ="safe").load(file.read_text())["rosbag2_bagfile_information"]
    noted = (information.get("custom_data") or {}).get("metric", "true")
    return {"true": True, "false": False}.get(noted)


@contextmanager
def _reading(path: Path) -> Iterator[AnyReader]:
    """An open reader; whatever goes wrong inside becomes one InvalidRequest naming the bag."""
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            yield reader
    except InvalidRequest:
        raise
    except Exception as error:  # rosbags, sqlite, zstd, struct and yaml errors have no common base
        reason = str(error) or type(error).__name__
        raise InvalidRequest(f"{path}: not a readable rosbag2 ({reason}); is it truncated?") from None


def _stamp(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _pose(position: Any, turn: Any, where: str) -> np.ndarray:
    return pose_from_quaternion((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w), where)
