# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy of this package's nodes: each may do what it does, and nothing else (`ros2 security`'s format)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from gld_ros.data.rig import camera_topics
from gld_ros.ros import client
from gld_ros.ros.dashboard import node as dashboard
from gld_ros.ros.declarations import EVERY_NODE, Table
from gld_ros.ros.demo.recorder import NOT_RECORDED
from gld_ros.ros.drivers import player
from gld_ros.ros.node import topics

ENCLAVES = "/gld_ros"  # one enclave below it for every node
# Element, item and attribute of what a node does.
RULES = {
    "subscribes": ("topics", "topic", "subscribe"),
    "publishes": ("topics", "topic", "publish"),
    "serves": ("services", "service", "reply"),
    "calls": ("services", "service", "request"),
    "executes": ("actions", "action", "execute"),
    "sends": ("actions", "action", "call"),
}
CAMERA = camera_topics("camera")
IN_DEMO = {"image": CAMERA.image, "camera_info": CAMERA.camera_info}  # names that the demo's parameters give
# Topics that a node has with other settings than the demo's.
NOT_IN_DEMO = {"image/compressed", "depth", "depth_camera_info", "pose", "plan", "NAME/image_raw/compressed"}
COMMENT = """
  Written by `make docs` from what the nodes do in the demo, whose camera is `camera`. For a robot copy it, put the
  names of its topics in place of camera/..., and of its namespace in place of ns="/". SECURITY.md says how to use it.
"""
Names = dict[str, set[str]]  # by what a node does


def demo_names() -> dict[str, Names]:
    """What each node of demo.launch.py, of `make demo` and the dashboard does, with its names in the ROS graph."""
    gld_node = names(topics.INTERFACE, topics.LIFECYCLE)
    camera = names(player.INTERFACE)
    recorded = {re.sub("^~", "/gld_node", name) for name in gld_node["publishes"] | camera["publishes"]}
    demo = names() | {
        "subscribes": recorded - set(NOT_RECORDED),
        "calls": {f"/gld_node/{name}" for name in client.SERVICES},
        "sends": {f"/gld_node/{client.ACTION}"},
    }
    shown = names(dashboard.INTERFACE)
    return {
        "gld_node": gld_node,
        "gld_sim_camera": camera,
        "gld_replay": camera,
        "gld_demo": demo,
        "gld_dashboard": shown,
    }


def names(*tables: Table) -> Names:
    """Names of what a node with these tables has in the graph, in the demo."""
    found: Names = {kind: set() for kind in RULES}
    for table in (*tables, {kind: EVERY_NODE[kind] for kind in ("publishes", "serves")}):
        for kind, endpoints in table.items():
            found[kind] |= {graph_name(name) for name in endpoints.keys() - NOT_IN_DEMO}
    return found


def graph_name(name: str) -> str:
    """The name in the ROS graph of what a `Table` calls `name`, in the demo; those below the node stay `~/x`."""
    return re.sub("^(?![~/])", "/", IN_DEMO.get(name, name.replace("NAME", "camera")))


def policy_document() -> str:
    """XML of the policy, one enclave a node."""
    policy = ElementTree.Element("policy", version="0.2.0")
    policy.append(ElementTree.Comment(COMMENT))
    enclaves = ElementTree.SubElement(policy, "enclaves")
    for node, found in demo_names().items():
        enclave = ElementTree.SubElement(enclaves, "enclave", path=f"{ENCLAVES}/{node}")
        profile = ElementTree.SubElement(ElementTree.SubElement(enclave, "profiles"), "profile", ns="/", node=node)
        for kind, (element, item, attribute) in RULES.items():
            if found[kind]:
                rule = ElementTree.SubElement(profile, element, {attribute: "ALLOW"})
                for name in sorted(found[kind]):
                    ElementTree.SubElement(rule, item).text = name
    ElementTree.indent(policy)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(policy, encoding="unicode") + "\n"
