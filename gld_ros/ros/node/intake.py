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
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from gld_ros.errors import InvalidRequest, TFError
from gld_ros.ros.conversions import camera_model, image_from_msg, optical_pose, ros_name, stamp_to_ns
from gld_ros.ros.node.depth import DepthInputs, PairedDepth, PosedImage
from gld_ros.ros.node.health import Health
from gld_ros.ros.node.pairing import StampPairing
from gld_ros.ros.node.poses import PendingFrames, TFPoses, TopicPoses
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.topics import SUBSCRIBED
from gld_ros.views import SourceView

TYPES_PERIOD = 1.0  # seconds between two looks at the types of images that are published
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
        self._shared, self._health = shared, health
        self._poses = TopicPoses(tf, p.pose_max_gap) if pose_topic else tf
        self._context, self._counters, self._warn = shared.key_frames, shared.counters, shared.warn
        self._rectified, self._body_axes = p.rectified, p.camera_axes == "body"
        capacity, slop = p.pending_frames, int(p.pairing_slop * 1e9)
        self._pairing = {
            camera: StampPairing(capacity, slop, partial(self._unpaired, camera), self._jumped)
            for camera in self._infos
        }
        self.pending = PendingFrames(self._poses, capacity, p.tf_timeout, self._no_pose)
        depth_topics = {
            resolve(image): (resolve(depth), resolve(info) if info else "")
            for image, depth, info in zip_longest(
                p.image_topics, p.depth_topics, p.depth_camera_info_topics, fillvalue=""
            )
            if depth
        }
        self._depth = DepthInputs(depth_topics, tf, self._poses, p, self._no_depth)
        self._frames: dict[str, str] = {}  # camera: frame of its newest key frame
        self._capacity = 2 * capacity * (len(self._infos) + len(depth_topics))
        self._queue: deque[tuple[str, str, str, Any]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="gld_intake", daemon=True)
        self._thread.start()
        self._qos = QoSProfile(depth=p.queue_depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions: dict[tuple[str, str, str], Subscription] = {}  # (topic, camera, kind)
        self._types: dict[
            tuple[str, str, str], str
        ] = {}  # of those, what may be compressed: key of its type in SUBSCRIBED
        for image, info in self._infos.items():
            self._listen_as_published(image, image, "image")
            self._listen(SUBSCRIBED["camera_info"].type, info, image, "info")
        for image, (depth, info) in depth_topics.items():
            self._listen_as_published(depth, image, "depth")
            if info:
                self._listen(SUBSCRIBED["depth_camera_info"].type, info, image, "depth")
        if pose_topic:
            self._listen(SUBSCRIBED["pose"].type[p.pose_source == "odometry"], pose_topic, "", "pose")
        self._follower = self._shared.timer(TYPES_PERIOD, self._follow_types)

    def _offered(self, topic: str, present: str) -> str:
        """The type of image that the publishers of a topic offer; the present one where there are none, or of both."""
        types = {info.topic_type for info in self._shared.node.get_publishers_info_by_topic(topic)}
        kinds = [kind for kind in ("image", "image/compressed") if ros_name(SUBSCRIBED[kind].type) in types]
        return kinds[0] if len(kinds) == 1 else present

    def _listen_as_published(self, topic: str, camera: str, kind: str) -> None:
        by_name = "image/compressed" if topic.endswith(("/compressed", "/compressedDepth")) else "image"
        offered = self._types[topic, camera, kind] = self._offered(topic, by_name)
        self._listen(SUBSCRIBED[offered].type, topic, camera, kind)

    def _follow_types(self) -> None:
        """Publishers that came later may offer another type than the name of the topic tells."""
        for (topic, camera, kind), present in self._types.items():
            if (offered := self._offered(topic, present)) != present:
                self._types[topic, camera, kind] = offered
                self._shared.node.destroy_subscription(self._subscriptions.pop((topic, camera, kind)))
                self._listen(SUBSCRIBED[offered].type, topic, camera, kind)
                self._shared.log.info(f"'{topic}' is taken as {ros_name(SUBSCRIBED[offered].type)}, as it is published")

    def _listen(self, message: type, topic: str, camera: str, kind: str) -> None:
        self._health.listen(topic)
        callback = partial(self._put, camera, kind, topic)
        self._subscriptions[topic, camera, kind] = self._shared.subscribe(message, topic, callback, self._qos)

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
        return optical_pose(self._poses.pose_now(self._frames.get(camera, ""), stamp), self._body_axes)

    def stop(self, timeout: float) -> bool:
        """Listen no more, forget what waits, end the thread; returns whether it ended within `timeout` seconds."""
        self._shared.node.destroy_timer(self._follower)
        for subscription in self._subscriptions.values():
            self._shared.node.destroy_subscription(subscription)
        self._health.forget_inputs()
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
        if stamp == 0:
            self._invalid(topic, f"'{topic}': the stamp is zero, so no pose can be found for it")
            return
        if kind == "depth":
            self._depth.add(camera, msg)
            return
        pair = self._pairing[camera].add(kind, stamp, msg)
        if pair is None:
            return
        image, info = pair
        frame = image.header.frame_id or info.header.frame_id
        if not frame:
            self._invalid(camera, f"'{camera}': neither the image nor its CameraInfo names a frame_id")
            return
        self.pending.push(frame, stamp_to_ns(image.header.stamp), (camera, image, info))

    def _posed(self, camera: str, pose: Any, image: Image | CompressedImage, info: CameraInfo) -> None:
        c2w, frame = optical_pose(pose, self._body_axes), image.header.frame_id or info.header.frame_id
        picture = PosedImage(camera, frame, stamp_to_ns(image.header.stamp), c2w, image, info)
        self._counters.add(camera, "posed")
        if not self._context.wants(camera, c2w, picture.stamp, measured=camera in self._depth):
            self._counters.add(camera, "redundant")
        elif camera in self._depth:
            self._depth.push(picture)
        else:
            self._keep(picture, None)

    def _keep(self, picture: PosedImage, paired: PairedDepth | None) -> None:
        camera = picture.camera
        try:
            pinhole = camera_model(picture.info, self._rectified, f"'{self._infos[camera]}'")
            pixels = pinhole.apply(image_from_msg(picture.image, f"'{camera}'"), f"'{camera}'")
            view = SourceView(pixels, pinhole.camera(picture.c2w).check(f"'{camera}'"), picture.stamp)
        except InvalidRequest as error:
            self._invalid(camera, str(error))
            return
        if paired is not None:
            try:
                view = replace(view, depth=paired.read(picture, pinhole, view.camera))
            except InvalidRequest as error:
                self._invalid(paired.topic, str(error))
        if not self._context.add(camera, view):
            self._counters.add(camera, "redundant")
            return
        self._frames[camera] = picture.frame
        try:
            self._poses.keep(picture.frame, picture.stamp)
        except TFError as error:
            self._warn("odom_frame", f"key frames cannot follow the map frame (parameter odom_frame): {error}")
        self._counters.add(camera, "key_frames")

    def _invalid(self, topic: str, reason: str) -> None:
        self._counters.add(topic, "dropped_invalid")
        self._warn(f"invalid {topic}", reason)

    def _unpaired(self, camera: str, kind: str) -> None:
        topic, other = camera, self._infos[camera]
        if kind == "info":
            topic, other = other, topic
        self._counters.add(topic, "dropped_unpaired")
        self._warn(f"unpaired {topic}", f"'{topic}': dropped a message; none of the same stamp came on '{other}'")

    def _no_depth(self, camera: str, reason: str) -> None:
        self._counters.add(camera, "without_depth")
        self._warn(f"no depth {camera}", f"'{camera}': an image goes on without depth: {reason}")

    def _no_pose(self, item: tuple[str, Any, Any], reason: str) -> None:
        self._counters.add(item[0], "dropped_no_pose")
        self._warn(
            f"no pose {item[0]}",
            f"'{item[0]}': dropped an image: {reason}{self._tf_topics() if 'no transform' in reason else ''}",
        )

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

    def _jumped(self) -> None:
        self._warn("jump", "time jumped backwards; dropped pending frames, poses and key frames")
        for pairing in self._pairing.values():
            pairing.clear()
        self.pending.clear()
        self._depth.clear()
        self._poses.clear()
        self._context.clear(jump=True)
