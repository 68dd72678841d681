# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `gld_node` listens to while it is active: cameras, and poses where TF does not give them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gld_ros.ros.node.counters import subscription_events
from gld_ros.ros.node.health import Health
from gld_ros.ros.node.intake import CameraTopics, Intake
from gld_ros.ros.node.poses import TFPoses, TopicPoses
from gld_ros.ros.node.shared import Shared


class Inputs:
    """Subscriptions whose callbacks only hand over to an `Intake`, which has a thread of its own."""

    def __init__(self, shared: Shared, tf: TFPoses, health: Health) -> None:
        self._node, self._counters, self._health = shared.node, shared.counters, health
        self._subscriptions: list[Subscription] = []
        p, resolve = shared.parameters, shared.node.resolve_topic_name
        self._qos = QoSProfile(depth=p.queue_depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        pose_topic = resolve(p.pose_topic) if p.pose_source != "tf" else ""
        cameras = [
            CameraTopics(resolve(i), resolve(c)) for i, c in zip(p.image_topics, p.camera_info_topics, strict=True)
        ]
        self.intake = Intake(shared, cameras, tf if p.pose_source == "tf" else TopicPoses(tf, p.pose_max_gap))
        for camera in cameras:
            kind = CompressedImage if camera.image.endswith("/compressed") else Image
            self._listen(kind, camera.image, partial(self.intake.put, camera.image, "image", camera.image))
            self._listen(CameraInfo, camera.info, partial(self.intake.put, camera.image, "info", camera.info))
        if p.pose_source != "tf":
            kind = PoseStamped if p.pose_source == "pose" else Odometry
            self._listen(kind, pose_topic, partial(self.intake.put, "", "pose", pose_topic))

    def stop(self, timeout: float) -> bool:
        """Listen no more; returns whether the intake's thread ended within `timeout` seconds."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._health.forget_inputs()
        return self.intake.stop(timeout)

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        self._health.listen(topic)
        events = subscription_events(self._node, topic, self._counters)
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, callback, self._qos, event_callbacks=events)
        )
