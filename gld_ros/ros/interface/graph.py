# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a running node offers and uses, as the ROS graph tells: topics, services, actions, parameters."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.action.graph import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

KINDS = ("subscribes", "publishes", "serves", "calls", "executes", "sends")


@dataclass(frozen=True)
class Endpoint:
    """name: `~/x` below the node's own name, `x` below its namespace, `/x` elsewhere. qos: of topics only."""

    name: str
    type: str
    qos: str = ""


@dataclass(frozen=True)
class Interfaces:
    """Topics a node subscribes and publishes, services it serves and calls, actions it executes and sends goals to."""

    subscribes: tuple[Endpoint, ...] = ()
    publishes: tuple[Endpoint, ...] = ()
    serves: tuple[Endpoint, ...] = ()
    calls: tuple[Endpoint, ...] = ()
    executes: tuple[Endpoint, ...] = ()
    sends: tuple[Endpoint, ...] = ()

    def names(self) -> dict[str, set[str]]:
        """The names of each of `KINDS`."""
        return {kind: {endpoint.name for endpoint in getattr(self, kind)} for kind in KINDS}

    def __or__(self, other: Interfaces) -> Interfaces:
        """What either has, by name."""
        return Interfaces(*(_sorted(*getattr(self, kind), *getattr(other, kind)) for kind in KINDS))


def interfaces_of(observer: Node, name: str, namespace: str = "/") -> Interfaces:
    """What the graph knows of the node NAMESPACE/NAME by now. Raises NodeNameNonExistentError where it is not there.

    The topics and services that an action consists of are not listed beside it.
    """
    own = f"{namespace.rstrip('/')}/{name}"

    def endpoints(found: Iterable[tuple[str, list[str]]], qos: Callable[[str], str] = lambda _: "") -> Iterable:
        for full, types in found:
            if "/_action/" not in full:
                short = full.replace(f"{own}/", "~/", 1) if full.startswith(f"{own}/") else full
                if namespace != "/" and short.startswith(f"{namespace}/"):
                    short = short[len(namespace) + 1 :]
                for kind in types:
                    yield Endpoint(short, kind, qos(full))

    def qos(infos: Callable) -> Callable[[str], str]:
        def of(topic: str) -> str:
            (profile, *_) = [
                i.qos_profile for i in infos(topic) if (i.node_name, i.node_namespace) == (name, namespace)
            ]
            reliable = profile.reliability == ReliabilityPolicy.RELIABLE
            latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            return ("reliable" if reliable else "best effort") + (", latched" if latched else "")

        return of

    subscribed = observer.get_subscriber_names_and_types_by_node(name, namespace)
    published = observer.get_publisher_names_and_types_by_node(name, namespace)
    return Interfaces(
        _sorted(*endpoints(subscribed, qos(observer.get_subscriptions_info_by_topic))),
        _sorted(*endpoints(published, qos(observer.get_publishers_info_by_topic))),
        _sorted(*endpoints(observer.get_service_names_and_types_by_node(name, namespace))),
        _sorted(*endpoints(observer.get_client_names_and_types_by_node(name, namespace))),
        _sorted(*endpoints(get_action_server_names_and_types_by_node(observer, name, namespace))),
        _sorted(*endpoints(get_action_client_names_and_types_by_node(observer, name, namespace))),
    )


def settled_interfaces(observer: Node, name: str, namespace: str = "/", timeout: float = 60.0) -> Interfaces:
    """The same of a node in another process, once the graph has said the same for a second.

    Raises TimeoutError after `timeout` seconds, also where the graph has several nodes of that name all the time: it
    would tell of one of them, maybe of one that has ended and is not forgotten yet.
    """
    end = time.monotonic() + timeout
    known, since = Interfaces(), time.monotonic()
    nodes = 0
    while time.monotonic() < end:
        nodes = observer.get_node_names_and_namespaces().count((name, namespace))
        if nodes == 1:
            found = interfaces_of(observer, name, namespace)
            if found != known:
                known, since = found, time.monotonic()
            elif known != Interfaces() and time.monotonic() - since > 1.0:
                return known
        time.sleep(0.05)
    raise TimeoutError(
        f"node {namespace.rstrip('/')}/{name}: not at rest in the graph within {timeout:g} s; it has {nodes} of that "
        f"name, expected 1, with {len(known.publishes)} publishers and {len(known.serves)} services"
    )


@dataclass(frozen=True)
class ParameterFacts:
    """A parameter as its node describes it. limits: allowed values in words, empty where any is."""

    name: str
    default: object
    live: bool
    meaning: str
    limits: str


def parameters_of(node: Node) -> list[ParameterFacts]:
    """All parameters that `node` (of this process) has declared, in that order, with the values they have now."""
    names = list(node._parameters)  # in the order of the declarations; rclpy's own list_parameters sorts nothing either
    values = [node.get_parameter(name).value for name in names]
    values = [list(value) if isinstance(value, (tuple, array)) else value for value in values]
    return [
        ParameterFacts(name, value, not d.read_only, d.description, limits_in_words(d))
        for name, value, d in zip(names, values, node.describe_parameters(names), strict=True)
    ]


def limits_in_words(descriptor: ParameterDescriptor) -> str:
    """ "0 to 60", "One of a, b", or empty."""
    for integers in descriptor.integer_range:
        return f"{integers.from_value} to {integers.to_value}"
    for reals in descriptor.floating_point_range:
        return f"{reals.from_value:g} to {reals.to_value:g}"
    return descriptor.additional_constraints


def _sorted(*endpoints: Endpoint) -> tuple[Endpoint, ...]:
    return tuple(sorted(set(endpoints), key=lambda e: (e.name, e.type)))
