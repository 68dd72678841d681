# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of /tf and /tf_static."""

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros import qos as tf_qos


def _as_list(transform: TransformStamped | Iterable[TransformStamped]) -> list[TransformStamped]:
    return [transform] if isinstance(transform, TransformStamped) else list(transform)


class TransformBroadcaster:
    """Sends transforms that hold at their stamps."""

    def __init__(self, node: Node, qos: QoSProfile | int = tf_qos.DYNAMIC) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf", qos)

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:  # noqa: N802
        """Send one transform or several."""
        self.pub_tf.publish(TFMessage(transforms=_as_list(transform)))


class StaticTransformBroadcaster:
    """Sends transforms that always hold; each message repeats all of this broadcaster's, the newest by child."""

    def __init__(self, node: Node, qos: QoSProfile | int = tf_qos.STATIC) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self._sent: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:  # noqa: N802
        """Send one transform or several."""
        self._sent |= {each.child_frame_id: each for each in _as_list(transform)}
        self.pub_tf.publish(TFMessage(transforms=list(self._sent.values())))
