# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node of rclpy and nothing else, in gld_node's place: what memory rclpy and DDS take by themselves."""

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from gld_ros.ros.node.counters import TopicCounters, subscription_events
from gld_ros.ros.node.guards import forget_destroyed
from gld_ros.srv import SynthesizeViews

CAMERA = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class BareNode(LifecycleNode):
    """Subscribes, answers and logs in each state as gld_node does, and makes nothing of what it receives."""

    def __init__(self, **options):
        super().__init__("gld_node", **options)
        self.key_frames = []
        self._cameras, self._transforms = [], []
        self.create_service(SynthesizeViews, "~/synthesize", self._answer)

    def on_configure(self, state):
        self.get_logger().info("loading no model")
        self._transforms = [
            self.create_subscription(TFMessage, topic, lambda message: None, 100) for topic in ("/tf", "/tf_static")
        ]
        self.get_logger().info("no model is ready")
        return super().on_configure(state)

    def on_activate(self, state):
        for kind, topic, callback in (
            (Image, "image", self.key_frames.append),
            (CameraInfo, "camera_info", lambda message: None),
        ):
            events = subscription_events(self, self.resolve_topic_name(topic), TopicCounters())
            self._cameras.append(self.create_subscription(kind, topic, callback, CAMERA, event_callbacks=events))
        return super().on_activate(state)

    def on_deactivate(self, state):
        self._destroy(self._cameras)
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        self._destroy(self._transforms)
        self.key_frames.clear()
        return super().on_cleanup(state)

    def close(self):
        pass

    def destroy_node(self):
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()  # as gld_node does

    def _destroy(self, subscriptions):
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        subscriptions.clear()
        forget_destroyed(self)

    def _answer(self, request, response):
        if not self._cameras:
            response.error_code = SynthesizeViews.Response.NOT_ACTIVE
            self.get_logger().warning("request answered NOT_ACTIVE")
        return response
