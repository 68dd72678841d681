# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to key frames: subscriptions, pairing, poses, decoding. One thread; callbacks only enqueue."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from gld_ros.data.camera_messages import Levels, beside_first, unusable
from gld_ros.data.transforms import UNSTAMPED, apart
from gld_ros.errors import InvalidRequest, TFError
from gld_ros.ros.conversions import camera_model, image_from_msg, optical_pose, ros_name, stamp_to_ns
from gld_ros.ros.node.depth import DepthInputs, PairedDepth, PosedImage
from gld_ros.ros.node.health import Health
from gld_ros.ros.node.inputs import Inputs
from gld_ros.ros.node.pairing import JUMP_BACK, StampPairing
from gld_ros.ros.node.poses import PendingFrames, TFPoses, TopicPoses
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.topics import SUBSCRIBED
from gld_ros.views import SourceView

CLOCKS = 10_000_000_000  # ns between an image and the newest pose that are said to be of different clocks
RETRY_PERIOD = 0.03  # seconds between two looks for the poses of waiting frames


class Intake:
    """Listens to cameras with their depth sensors, and to poses where TF does not give them; makes key frames of it.

    Everything dropped is counted per topic: `dropped_queue_full` (this thread is behind), `dropped_unpaired` (no
    partner of the same stamp), `dropped_no_pose`, `dropped_invalid` (cannot be decoded or used). Frames that are near
    a key frame already are no drops; they count as `redundant`. `without_depth`: a depth sensor had none for a frame.
    """

    def __init__(self, shared: Shared, tf: TFPoses, health: Health) -> None:
        p, resolve = shared.parameters, shared.node.resolve_topic_name
        pose_topic = resolve(p.pose_topic) if p.pose_source != "tf" else ""
        self._infos = dict(zip(map(resolve, p.image_topics), map(resolve, p.camera_info_topics), strict=True))
        self._shared = shared
        self._poses = TopicPoses(tf, p.pose_max_gap) if pose_topic else tf
        self._context, self._counters, self._warn = shared.key_frames, shared.counters, shared.warn
        self._rectified, self._body_axes = p.rectified, p.camera_axes == "body"
        given = (p.value_range[0], p.value_range[1]) if any(p.value_range) else None
        self._levels = {camera: Levels(given) for camera in self._infos}
        capacity, slop = p.pending_frames, int(p.pairing_slop * 1e9)
        self._pairing = {
            camera: StampPairing(
                capacity, slop, partial(self._unpaired, camera), self._jumped, partial(self._apart, camera),
                partial(self._returned, camera),
            )
            for camera in self._infos
        }  # fmt: skip
        self.pending = PendingFrames(self._poses, capacity, p.tf_timeout, self._no_pose)
        depth_topics = {
            resolve(image): (resolve(depth), resolve(info) if info else "")
            for image, depth, info in zip_longest(
                p.image_topics, p.depth_topics, p.depth_camera_info_topics, fillvalue=""
            )
            if depth
        }
        self._depth = DepthInputs(depth_topics, tf, self._poses, p, self._no_depth)
        self._stereo: dict[str, tuple[str, tuple[float, float]]] = {}  # camera: its frame, and where it is by P
        self._newest: dict[str, PosedImage] = {}  # camera: its newest key frame
        self._capacity = 2 * capacity * (len(self._infos) + len(depth_topics))
        self._queue: deque[tuple[str, str, str, Any]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="gld_intake", daemon=True)
        self._thread.start()
        self._inputs = Inputs(shared, health)
        for image, info in self._infos.items():
            self._listen("image", image, image, "image")
            self._listen("camera_info", info, image, "info")
        for image, (depth, info) in depth_topics.items():
            self._listen("image", depth, image, "depth")
            if info:
                self._listen("depth_camera_info", info, image, "depth")
        if pose_topic:
            self._listen("pose", pose_topic, "", "pose", p.pose_source == "odometry")

    def _listen(self, name: str, topic: str, camera: str, kind: str, choice: int = 0) -> None:
        types = SUBSCRIBED[name].type
        message = types[choice] if isinstance(types, tuple) else types
        self._inputs.listen(message, topic, partial(self._put, camera, kind, topic))

    def _put(self, camera: str, kind: str, topic: str, msg: Any) -> None:
        """Take a message of `topic`: `kind` is "image", "info", "depth" (its CameraInfo, too) or "pose", `camera` its
        image topic. Never blocks."""
        self._counters.add(topic, "received")
        with self._wake:
            self._queue.append((camera, kind, topic, msg))
            if len(self._queue) > self._capacity:
                _, _, dropped, _ = self._queue.popleft()
                self._counters.add(dropped, "dropped_queue_full")
            self._wake.notify()

    def pose_now(self, camera: str, stamp: int) -> np.ndarray:
        """(4, 4) optical pose of a camera at `stamp` (ns) as it is known now. Raises TFError."""
        newest = self._newest.get(camera)
        pose = optical_pose(self._poses.pose_now(newest.frame if newest else "", stamp), self._body_axes)
        return newest.lens.camera(pose).c2w if newest else pose

    def stop(self, timeout: float) -> bool:
        """Listen no more, forget what waits, end the thread; returns whether it ended within `timeout` seconds."""
        self._inputs.stop()
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while not self._stopping:
            with self._wake:
                waits = len(self.pending) or len(self._depth)
                self._wake.wait_for(lambda: self._queue or self._stopping, RETRY_PERIOD if waits else None)
                items, self._queue = self._queue, deque()
            try:
                for item in items:
                    self._take(*item)
                self.pending.timeout = self._depth.timeout = self._shared.parameters.tf_timeout
                for pose, (camera, image, info) in self.pending.retry():
                    self._posed(camera, pose, image, info)
                for picture, depth in self._depth.retry():
                    self._keep(picture, depth)
            except Exception as error:  # one bad message must not end the intake; the reason is in the log
                self._warn("intake", f"dropped a message after an unexpected {type(error).__name__}: {error}")

    def _take(self, camera: str, kind: str, topic: str, msg: Any) -> None:
        if kind == "pose":
            try:
                self._poses.add(msg)
            except InvalidRequest as error:
                self._invalid(topic, f"'{topic}': {error}")
            return
        stamp = stamp_to_ns(msg.header.stamp)
        pairing = self._pairing[camera]
        pairing.latched = self._inputs.latched(self._infos[camera])
        if stamp == 0 and not (kind == "info" and pairing.latched):
            self._invalid(topic, f"'{topic}': {UNSTAMPED}, so no pose can be found for it")
            return
        if kind == "depth":
            self._depth.add(camera, msg)
            return
        if kind == "image" and self._levels[camera].add(msg):
            self._new_levels(camera)
        for image, info in pairing.add(kind, stamp, msg):
            if frame := image.header.frame_id or info.header.frame_id:
                if not unusable(info, self._rectified):
                    self._stereo[camera] = frame, beside_first(info)
                self.pending.push(frame, stamp_to_ns(image.header.stamp), (camera, image, info))
            else:
                self._invalid(camera, f"'{camera}': neither the image nor its CameraInfo names a frame_id")

    def _posed(self, camera: str, pose: Any, image: Image | CompressedImage, info: CameraInfo) -> None:
        c2w, frame = optical_pose(pose, self._body_axes), image.header.frame_id or info.header.frame_id
        self._counters.add(camera, "posed")
        try:
            lens = camera_model(info, self._rectified, f"'{self._infos[camera]}'", self._shares_frame(camera, frame))
        except InvalidRequest as error:
            self._invalid(camera, str(error))
            return
        picture = PosedImage(camera, frame, stamp_to_ns(image.header.stamp), c2w, image, lens)
        if not self._context.wants(camera, lens.camera(c2w).c2w, picture.stamp, measured=camera in self._depth):
            self._counters.add(camera, "redundant")
        elif camera in self._depth:
            self._depth.push(picture)
        else:
            self._keep(picture, None)

    def _shares_frame(self, camera: str, frame: str) -> bool:
        """True for the second camera of a stereo pair, in the frame of the first. Raises InvalidRequest while
        nothing has come from those that may be the first."""
        right, below = self._stereo.get(camera, ("", (0, 0)))[1]
        first = [other for other, (_, aside) in self._stereo.items() if not any(aside)]
        if not (right or below) or any(self._stereo[other][0] == frame for other in first):
            return bool(right or below)
        if unknown := self._infos.keys() - self._stereo.keys():
            raise InvalidRequest(
                f"'{camera}': P of its CameraInfo puts it {right:.3f} m to the right of and {below:.3f} m below "
                f"another camera; dropped until {', '.join(map(repr, sorted(unknown)))} tells whose frame it has"
            )
        return False

    def _keep(self, picture: PosedImage, paired: PairedDepth | None) -> None:
        camera = picture.camera
        try:
            image = image_from_msg(picture.image, f"'{camera}'", self._levels[camera].levels)
            pixels = picture.lens.apply(image, f"'{camera}'")
            view = SourceView(pixels, picture.lens.camera(picture.c2w).check(f"'{camera}'"), picture.stamp)
        except InvalidRequest as error:
            self._invalid(camera, str(error))
            return
        if paired is not None:
            try:
                view = replace(view, depth=paired.read(picture, view.camera))
            except InvalidRequest as error:
                self._invalid(paired.topic, str(error))
        if not self._context.add(camera, view):
            self._counters.add(camera, "redundant")
            return
        self._newest[camera] = picture
        try:
            self._poses.keep(picture.frame, picture.stamp)
        except TFError as error:
            self._warn("odom_frame", f"key frames cannot follow the map frame (parameter odom_frame): {error}")
        self._counters.add(camera, "key_frames")

    def _new_levels(self, camera: str) -> None:
        dropped = self._context.drop(lambda name, view: name == camera)
        lost = f"; {dropped} key frames of other values were dropped" if dropped else ""
        self._shared.log.warning(f"'{camera}': {self._levels[camera]} (parameter value_range sets the values){lost}")

    def _invalid(self, topic: str, reason: str) -> None:
        self._counters.add(topic, "dropped_invalid")
        self._warn(f"invalid {topic}", reason)

    def _unpaired(self, camera: str, kind: str) -> None:
        topic, other = camera, self._infos[camera]
        if kind == "info":
            topic, other = other, topic
        self._counters.add(topic, "dropped_unpaired")
        self._warn(f"unpaired {topic}", f"'{topic}': dropped a message; none of the same stamp came on '{other}'")

    def _apart(self, camera: str, image: int, info: int) -> None:
        """Images and CameraInfo come, and these stamps (ns) are as near as any two."""
        between = abs(image - info) / 1e9
        cure = "pairing_slop allows more than 0 s" if between <= 1 else "they are of different clocks, or one stopped"
        self._warn(
            f"apart {camera}",
            f"'{camera}' is stamped {image / 1e9:.6f} s, '{self._infos[camera]}' {info / 1e9:.6f} s: {between:.3f} s "
            f"apart, and no two of them have the same stamp; {cure}",
        )

    def _no_depth(self, camera: str, reason: str) -> None:
        self._counters.add(camera, "without_depth")
        self._warn(f"no depth {camera}", f"'{camera}': an image goes on without depth: {reason}")

    def _no_pose(self, item: tuple[str, Any, Any], reason: str) -> None:
        camera, image, info = item
        frame, stamp = image.header.frame_id or info.header.frame_id, stamp_to_ns(image.header.stamp)
        newest = self._poses.newest(frame)
        if newest and abs(stamp - newest) > CLOCKS:
            reason += f"; {apart((stamp, stamp), (newest, newest))}"
        if "no transform" in reason:
            reason += self._tf_topics()
        self._counters.add(camera, "dropped_no_pose")
        self._warn(f"no pose {camera}", f"'{camera}': dropped an image: {reason}")

    def _tf_topics(self) -> str:
        """The topic that TF is listened to on, and others that carry TF."""
        node = self._shared.node
        own = node.resolve_topic_name("/tf")
        others = [
            topic
            for topic, types in node.get_topic_names_and_types()
            if ros_name(TFMessage) in types and topic not in (own, f"{own}_static") and node.count_publishers(topic)
        ]
        return f"; TF is taken from '{own}'" + (f", others are {', '.join(map(repr, others))}" if others else "")

    def _returned(self, camera: str, stamp: int) -> None:
        """Some messages were stamped with the future: what came with them must not stay there."""
        frame = self._stereo.get(camera, ("",))[0]
        self._context.drop(lambda name, view: name == camera and view.stamp > stamp + JUMP_BACK)
        if self._poses.newest(frame) > stamp + JUMP_BACK:
            self._poses.clear()

    def _jumped(self) -> None:
        self._warn("jump", "time jumped backwards; dropped pending frames, poses and key frames")
        for pairing in self._pairing.values():
            pairing.clear()
        self.pending.clear()
        self._depth.clear()
        self._poses.clear()
        self._context.clear(jump=True)
