# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters that are set once, at the start of a node."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def parameter(node: Node, name: str, default, description: str, low: float | None = None, high: float | None = None):
    """Declare a read-only parameter with its description and range; returns its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if low is not None and isinstance(default, int):
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif low is not None:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high or 0), step=0.0)
        ]
    return node.declare_parameter(name, default, descriptor).value
