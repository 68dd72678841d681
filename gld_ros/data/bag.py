# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading bags without ROS: posed images from Image + CameraInfo + TF (or Odometry, PoseStamped).

Topics: of every image topic the CameraInfo beside it (`.../camera_info`), each image with the one of its own stamp; an
image topic of depth in the frame of a colour camera is its depth, else one with CameraInfo beside it in the same TF.
Poses come from TF at the stamps of the images, interpolated; an Odometry or PoseStamped topic stands in where TF does
not lead to the camera, and Odometry of a body where TF says no more than how the camera sits on it. TF of a namespace
(`/robot1/tf`) is a tree of its own.
"""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.bad_frames import BadFrames
from gld_ros.data.bag_companions import advice, calibrated, follow_trajectory
from gld_ros.data.bag_images import (
    BagImage,
    Calibration,
    camera_of,
    info_at,
    info_topic,
    likeness,
    nearest_in_time,
    pose_of,
    rectified_by_name,
    stamp_of,
)
from gld_ros.data.camera_messages import DEPTH_ENCODINGS, FULL_RANGE, Levels, beside_first, encoding_of, unusable
from gld_ros.data.recording import RENAMED, Message, Recording
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.data.transforms import UNSTAMPED, TransformTree, apart
from gld_ros.errors import InvalidRequest, TFError
from gld_ros.geometry.cameras import Camera

log = logging.getLogger(__name__)

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, TF = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"
READ = (IMAGE, COMPRESSED, INFO, TF, ODOMETRY, POSE)
DEPTH_TOLERANCE = 20_000_000  # ns between a colour image and its depth


class _Bag:
    """Contents of a bag after one pass through it."""

    def __init__(self, path: Path, bad: BadFrames) -> None:
        self.path, self.bad = path, bad
        self.recording = Recording(path)
        self.images: dict[str, list[BagImage]] = {}
        self.encodings: dict[str, str] = {}
        self.levels: dict[str, Levels] = {}
        self.infos: dict[str, list[tuple[int, Any]]] = {}
        self.trees: dict[str, TransformTree] = {}  # namespace: its TF
        self.poses: dict[str, list[tuple[int, str, str, np.ndarray]]] = {}  # topic: stamp, parent, child, pose
        self._newest: dict[str, bytes] = {}  # topic of CameraInfo: its bytes after the stamp
        with self.recording.reading() as bag:
            self.types = {topic: RENAMED.get(name, name) for topic, name in bag.topics.items()}
            for message in bag.messages([topic for topic, name in self.types.items() if name in READ]):
                kind = self.types[message.topic]
                with bad.caught() if kind in (IMAGE, COMPRESSED) else nullcontext():
                    self._add(message, kind, self.recording.deserialize(message))
        self.infos = {topic: sorted(infos, key=lambda info: info[0]) for topic, infos in self.infos.items()}
        for images in self.images.values():
            images.sort(key=lambda image: image.stamp)

    def _add(self, raw: Message, type_name: str, message: Any) -> None:
        topic = raw.topic
        if type_name in (IMAGE, COMPRESSED):
            self.encodings.setdefault(topic, encoding_of(message))
            image = BagImage(
                self.recording, topic, raw.log_time, stamp_of(message), message.header.frame_id.lstrip("/")
            )
            self.images.setdefault(topic, []).append(image)
            self.levels.setdefault(topic, Levels()).add(message)
        elif type_name == INFO:
            infos = self.infos.setdefault(topic, [])
            content = bytes(raw.data[12:])  # after the stamp, in both versions of ROS
            same = infos and self._newest.get(topic) == content
            infos.append((stamp_of(message), infos[-1][1] if same else message))
            self._newest[topic] = content
        elif type_name == TF:
            tree = self.trees.setdefault(posixpath.dirname(topic), TransformTree())
            for item in message.transforms:
                parent, child = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
                pose = pose_of(item.transform.translation, item.transform.rotation)
                tree.add(parent, child, stamp_of(item), pose, static=topic.endswith("tf_static"))
        else:
            inner = message.pose.pose if type_name == ODOMETRY else message.pose
            child = message.child_frame_id.lstrip("/") if type_name == ODOMETRY else ""
            pose = pose_of(inner.position, inner.orientation)
            entry = (stamp_of(message), message.header.frame_id.lstrip("/"), child, pose)
            self.poses.setdefault(topic, []).append(entry)

    def colour_topics(self) -> list[str]:
        """Image topics that are no depth; a compressed one only where its images were not recorded raw, too."""
        colour = [topic for topic in sorted(self.images) if not self._is_depth(topic)]
        raw = {
            (info_topic(topic), image.stamp)
            for topic in colour
            if self.types[topic] == IMAGE
            for image in self.images[topic]
        }
        return [
            topic
            for topic in colour
            if self.types[topic] == IMAGE
            or not any((info_topic(topic), image.stamp) in raw for image in self.images[topic])
        ]

    def _is_depth(self, topic: str) -> bool:
        encoding, _, codec = self.encodings[topic].partition(";")
        return encoding in DEPTH_ENCODINGS or "compressedDepth" in codec or (encoding == "mono16" and "depth" in topic)

    def frames(self, topic: str) -> tuple[list[Frame], str]:
        """Frames of one image topic, or none and the reason. Raises InvalidRequest for a TF that is no tree."""
        images, beside = self.images[topic], info_topic(topic)
        problems = [] if beside in self.infos else [f"no CameraInfo on {beside}"]
        frame_id = images[0].frame_id
        tree = self.tree(topic, frame_id)
        try:
            stand_in = None if tree.moves(frame_id) else self._stand_in(tree, topic, frame_id)
            root = tree.root(frame_id)
        except TFError as error:
            raise InvalidRequest(f"{self.path}: {topic}: {error}") from None
        if frame_id not in tree and not stand_in:
            problems.append(f"no TF, Odometry or PoseStamped leads to its frame {frame_id!r}")
        if problems:
            return [], ", ".join(problems)
        camera_name, rectified = camera_of(topic), rectified_by_name(topic.removesuffix("/compressed"))
        depth_topic = self._depth_topic(topic, tree)
        levels = self.levels[topic].levels
        if levels != FULL_RANGE:
            log.warning("%s: %s: %s", self.path, topic, self.levels[topic])
        clocks = apart((images[0].stamp, images[-1].stamp), tree.span(frame_id))
        frames: list[Frame] = []
        lost: Counter[str] = Counter()
        for image in images:
            calibration = self._calibration(beside, image, rectified)
            if reason := calibration.unusable():
                lost[f"{beside}: {reason}"] += 1
                continue
            try:
                pose = tree.lookup(root, frame_id, image.stamp)
            except TFError as error:
                lost[f"no pose at their stamps ({(clocks or error) if image.stamp else UNSTAMPED})"] += 1
                continue
            with self.bad.caught():
                camera = calibration.pinhole().camera(pose).check(str(image))
                read_depth = self._depth(depth_topic, image, calibration, camera, tree, root) if depth_topic else None
                read_image = partial(image.colour, calibration, levels)
                frames.append(Frame(str(image), camera_name, image.stamp, camera, read_image, read_depth))
        if depth_topic and (without := sum(frame.read_depth is None for frame in frames)):
            log.warning(
                "%s: %s: %d of %d images have no depth: none with a pose came on %s within %g ms",
                self.path, topic, without, len(frames), depth_topic, DEPTH_TOLERANCE / 1e6,
            )  # fmt: skip
        reasons = "; ".join(f"{count} of {len(images)} images: {reason}" for reason, count in lost.items())
        if frames and lost:
            log.warning("%s: %s: left out %s", self.path, topic, reasons)
        return frames, reasons

    def _calibration(self, topic: str, image: BagImage, rectified: bool) -> Calibration:
        info, shares_frame = info_at(self.infos[topic], image.stamp), image.frame_id in self._first_frames
        return Calibration(info, rectified, f"{self.path}: {topic}", shares_frame)

    @cached_property
    def _first_frames(self) -> set[str]:
        """Frames of cameras that are not the second one of a stereo pair."""
        newest = {
            topic: self.infos[info_topic(topic)][-1][1] for topic in self.images if info_topic(topic) in self.infos
        }
        return {
            self.images[topic][0].frame_id
            for topic, info in newest.items()
            if not unusable(info) and not any(beside_first(info))
        }

    def _depth_topic(self, colour: str, tree: TransformTree) -> str | None:
        """The topic of a camera's depth: in its own frame, that is registered to it; else one with CameraInfo beside it
        and a frame in the same tree. The nearest name comes first, then raw depth; without CameraInfo it is that of the
        nearest camera in the frame alone."""
        frame_id = self.images[colour][0].frame_id
        rivals = [topic for topic in self.colour_topics() if self.images[topic][0].frame_id == frame_id]

        def fits(topic: str) -> bool:
            own = self.images[topic][0].frame_id
            placed = info_topic(topic) in self.infos and own in tree and self.tree(topic, own) is tree
            nearest = likeness(topic, colour) == max(likeness(topic, rival) for rival in rivals)
            return self._is_depth(topic) and (placed or (own == frame_id and nearest))

        def order(topic: str) -> tuple[bool, int, bool]:
            return self.images[topic][0].frame_id != frame_id, -likeness(topic, colour), self.types[topic] != IMAGE

        return min(filter(fits, self.images), key=order, default=None)

    def _depth(
        self, topic: str, image: BagImage, colour: Calibration, camera: Camera, tree: TransformTree, root: str
    ) -> Callable[[], np.ndarray] | None:
        """A function that reads the depth on `topic` for an image; None where none with a pose is near its stamp."""
        measured = nearest_in_time(self.images[topic], image.stamp)
        if abs(measured.stamp - image.stamp) > DEPTH_TOLERANCE:
            return None
        try:
            c2w = tree.lookup(root, measured.frame_id, measured.stamp)
        except TFError:
            return None
        beside = info_topic(topic)
        is_own = beside in self.infos and beside != info_topic(image.topic)
        own = self._calibration(beside, measured, rectified_by_name(topic)) if is_own else None
        return partial(measured.depth, colour, camera, own, c2w)

    def tree(self, topic: str, frame_id: str) -> TransformTree:
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

        for topic in sorted(self.poses, key=lambda topic: -likeness(topic, image_topic)):
            poses = self.poses[topic]
            _, parent, child, _ = poses[0]
            # Odometry of another body, which TF does not connect to this camera; or a pose of nobody knows which frame.
            if child != body and (child or frame_id in tree):
                continue
            for stamp, _, _, pose in poses:
                tree.add(parent or "map", body, stamp, pose, static=False)
            return topic
        return None


def read_bag(
    path: str | Path,
    calibration: str | Path | None = None,
    trajectory: str | Path | None = None,
    trajectory_frame: str | None = None,
    skip_bad_frames: bool = False,
    camera: str | None = None,
) -> Sequence:
    """Posed frames of all cameras of a bag, in time order; images are read when asked for.

    calibration, trajectory: files beside the bag; see `bag_companions`. camera: the only one that is read, if there.
    Frames outside the recorded poses are left out. Raises InvalidRequest naming the file and what is missing: images,
    CameraInfo, poses; or that it is truncated, empty or unreadable.
    """
    path = Path(path)
    bad = BadFrames(skip_bad_frames)
    bag = _Bag(path, bad)
    colour = bag.colour_topics()
    if not colour:
        bad.settle(str(path), 0)
        topics = ", ".join(f"{topic} ({name})" for topic, name in bag.types.items())
        raise InvalidRequest(
            f"{path}: no colour or grey images in this {bag.recording.kind}; its topics: {topics or 'none'}"
        )
    colour = [topic for topic in colour if camera_of(topic) == camera] or colour
    images = {topic: bag.images[topic] for topic in colour}
    if calibration:
        bag.infos |= calibrated(Path(calibration), images, bag.infos)
    if trajectory:
        follow_trajectory(Path(trajectory), trajectory_frame, images, bag.tree)
    elif trajectory_frame:
        raise InvalidRequest(f"{path}: the frame {trajectory_frame!r} of a trajectory, and no trajectory")
    frames: list[Frame] = []
    missing: list[str] = []
    for topic in colour:
        found, problem = bag.frames(topic)
        frames += found
        if not found and problem:
            missing.append(f"{topic}: {problem}")
    if frames or not missing:
        bad.settle(str(path), len(frames))
    if not frames:
        reasons = "; ".join(missing)
        raise InvalidRequest(f"{path}: no posed images. {reasons}{advice(reasons)}")
    if missing:
        log.warning("%s: left out %s", path, "; ".join(missing))
    # REP 103 asks for metres; `write_bag` notes where a sequence is not in them, or does not say.
    metric = {"true": True, "false": False}.get(bag.recording.notes.get("metric", "true"))
    return Sequence(path.resolve().stem, path, sorted(frames, key=lambda frame: frame.stamp), metric)
