# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a node declares its parameters, topics, services and actions: once, for ROS and for docs/interfaces.md."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, Log, ParameterDescriptor, ParameterEvent
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from type_description_interfaces.srv import GetTypeDescription

T = TypeVar("T")
RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# rclpy looks at every event of every publisher whenever any message arrives. A subscriber whose QoS does not fit learns
# it on its own side.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


@dataclass(frozen=True)
class Endpoint:
    """A topic, service or action. type: of its messages, a tuple where a parameter chooses. qos: of a topic."""

    type: Any
    meaning: str
    qos: QoSProfile = dataclasses.field(default_factory=lambda: RELIABLE)


#: Name -> Endpoint by what a node does: "subscribes", "publishes" topics, "serves" services, "executes" actions.
#: Names: `~/x` is below the node's own name, `x` below its namespace, `/x` as it is; NAME is the name of a camera.
Table = dict[str, dict[str, Endpoint]]

EVERY_NODE: Table = {
    "publishes": {
        "/rosout": Endpoint(Log, "Log messages.", LATCHED),
        "/parameter_events": Endpoint(ParameterEvent, "Changes of parameters."),
    },
    "subscribes": {"/clock": Endpoint(Clock, "The time, with `use_sim_time`.", BEST_EFFORT)},
    "serves": {
        "~/describe_parameters": Endpoint(DescribeParameters, "Meaning and limits of parameters."),
        "~/get_parameter_types": Endpoint(GetParameterTypes, "Types of parameters."),
        "~/get_parameters": Endpoint(GetParameters, "Values of parameters."),
        "~/list_parameters": Endpoint(ListParameters, "Names of parameters."),
        "~/set_parameters": Endpoint(SetParameters, "Sets live parameters, each by itself."),
        "~/set_parameters_atomically": Endpoint(SetParametersAtomically, "Sets live parameters, all or none."),
        "~/get_type_description": Endpoint(GetTypeDescription, "Definition of a message type (Jazzy and newer)."),
    },
}
ROS_PARAMETERS = {  # of every node: live, meaning
    "use_sim_time": ("yes", "Take the time from /clock."),
    "start_type_description_service": ("no", "Serve ~/get_type_description."),
}


def publisher(node: Node, table: Table, name: str) -> Publisher:
    """The publisher of a topic that `table` has under "publishes"."""
    topic = table["publishes"][name]
    return node.create_publisher(topic.type, name, topic.qos, event_callbacks=NO_EVENTS)


def fixed(default: Any, description: str, limits: tuple[Any, ...] = ()) -> Any:
    """A dataclass field that is a ROS parameter, set at the start. limits: lowest and highest number, or the texts to
    choose from."""
    return dataclasses.field(default=default, metadata={"description": description, "limits": limits, "live": False})


def live(default: Any, description: str, limits: tuple[Any, ...] = ()) -> Any:
    """The same of a parameter that may be set while the node runs."""
    return dataclasses.field(default=default, metadata={"description": description, "limits": limits, "live": True})


def choices(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The texts to choose from; empty where there are none."""
    limits = field.metadata["limits"]
    return limits if limits and isinstance(limits[0], str) else ()


def limits_in_words(field: dataclasses.Field[Any]) -> str:
    """ "0 to 60", "One of a, b", or empty."""
    limits = field.metadata["limits"]
    if not limits or choices(field):
        return "One of " + ", ".join(limits) if limits else ""
    low, high = (f"{limit:d}" if isinstance(field.default, int) else f"{limit:g}" for limit in limits)
    return f"{low} to {high}"


def declare(node: Node, parameters: type[T]) -> T:
    """Declare every field of the dataclass `parameters` on `node`; returns the values that the node was started with.

    Raises ValueError for a text that is none of the choices; rclpy raises for wrong types and ranges.
    """
    fields = dataclasses.fields(parameters)  # type: ignore[arg-type]  # a dataclass, which no type says
    for field in fields:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        node.declare_parameter(field.name, default, _descriptor(field))
    values = read(node, parameters)
    for field in fields:
        if reason := refused_choice(field, getattr(values, field.name)):
            raise ValueError(reason)
    return values


def read(node: Node, parameters: type[T]) -> T:
    """The present values."""
    names = [field.name for field in dataclasses.fields(parameters)]  # type: ignore[arg-type]  # as above
    values = {name: node.get_parameter(name).value for name in names}
    return parameters(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def refused_choice(field: dataclasses.Field[Any], value: Any) -> str:
    """Why a value cannot be; empty if it is one of the choices, or there are none."""
    allowed = choices(field)
    return (
        f"{field.name} is '{value}', expected one of {', '.join(allowed)}" if allowed and value not in allowed else ""
    )


def _descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=field.metadata["description"], read_only=not field.metadata["live"])
    limits = field.metadata["limits"]
    if choices(field):
        descriptor.additional_constraints = limits_in_words(field)
    elif limits and isinstance(field.default, int):
        descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=1)]
    elif limits:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(limits[0]), to_value=float(limits[1]))]
    return descriptor
