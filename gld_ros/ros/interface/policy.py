# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy of this package's nodes: each may do what it does, and nothing else (`ros2 security`'s format)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from gld_ros.ros.interface.graph import KINDS, Interfaces

ENCLAVES = "/gld_ros"  # one enclave below it for every node
# Of Interfaces: (element, item, attribute).
RULES = {
    "subscribes": ("topics", "topic", "subscribe"),
    "publishes": ("topics", "topic", "publish"),
    "serves": ("services", "service", "reply"),
    "calls": ("services", "service", "request"),
    "executes": ("actions", "action", "execute"),
    "sends": ("actions", "action", "call"),
}
COMMENT = """
  Written by `make docs` from what the nodes do in the demo, whose camera is `camera`. For a robot copy it, put the
  names of its topics in place of camera/..., and of its namespace in place of ns="/". SECURITY.md says how to use it.
"""


def policy_document(nodes: dict[str, Interfaces]) -> str:
    """XML of the policy, one enclave a node."""
    policy = ElementTree.Element("policy", version="0.2.0")
    policy.append(ElementTree.Comment(COMMENT))
    enclaves = ElementTree.SubElement(policy, "enclaves")
    for name, interfaces in nodes.items():
        enclave = ElementTree.SubElement(enclaves, "enclave", path=f"{ENCLAVES}/{name}")
        profile = ElementTree.SubElement(ElementTree.SubElement(enclave, "profiles"), "profile", ns="/", node=name)
        for kind, names in interfaces.names().items():
            element, item, attribute = RULES[kind]
            if names:
                rule = ElementTree.SubElement(profile, element, {attribute: "ALLOW"})
                for allowed in sorted(names):
                    ElementTree.SubElement(rule, item).text = allowed
    ElementTree.indent(policy)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(policy, encoding="unicode") + "\n"


def read_policy(text: str) -> dict[str, dict[str, set[str]]]:
    """{node: {kind of `graph.KINDS`: names}} of a policy that has one enclave and profile a node."""
    kinds = {(element, attribute): kind for kind, (element, _, attribute) in RULES.items()}
    nodes: dict[str, dict[str, set[str]]] = {}
    for profile in ElementTree.fromstring(text).iterfind("enclaves/enclave/profiles/profile"):
        allowed: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for rule in profile:
            for attribute in rule.keys():
                allowed[kinds[rule.tag, attribute]] |= {item.text or "" for item in rule}
        nodes[profile.attrib["node"]] = allowed
    return nodes
