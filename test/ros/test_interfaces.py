# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/interfaces.md and the SROS2 policy against running nodes, both ways."""

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.parameter import Parameter
from robot import PATIENCE, NodeThread

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.demo.processes import Processes
from gld_ros.ros.interface.graph import parameters_of, settled_interfaces
from gld_ros.ros.interface.meanings import CAMERA, DASHBOARD, EVERY_NODE, LIFECYCLE_NODE, ROS_PARAMETERS
from gld_ros.ros.interface.page import parse_interface, template_name
from gld_ros.ros.interface.policy import read_policy
from gld_ros.ros.node.node import GLDNode
from gld_ros.ros.node.topics import MEANINGS
from gld_ros.views import SourceView

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "interfaces.md").read_text()
POLICY = (ROOT / "config" / "sros2" / "policies.xml").read_text()
TITLES = {
    "subscribes": "Subscribed topics",
    "publishes": "Published topics",
    "serves": "Services",
    "executes": "Actions",
}
BY_SETTING = {"image/compressed", "plan", "pose"}  # topics that gld_node has with other settings only


def documented(section, title):
    """Names in the first column of a table of the page."""
    part = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = [text for text in part if text.startswith(section)]
    tables = dict(re.findall(r"^### (.*)\n\n((?:\|.*\n)+)", text, re.MULTILINE))
    return re.findall(r"^\| `([^`]+)`", tables.get(title, ""), re.MULTILINE)


def compare(values):
    """Assert that what `values()` gives, (found, expected), is equal; on a busy machine discovery takes its time."""
    end = time.monotonic() + PATIENCE / 2
    found, expected = values()
    while found != expected and time.monotonic() < end:
        time.sleep(0.5)
        found, expected = values()
    assert found == expected


@pytest.fixture(scope="module")
def observer():
    node = rclpy.create_node("observer", enable_rosout=False)
    yield node
    node.destroy_node()


@pytest.fixture(scope="module")
def gld_node():
    """The node as the demo starts it: its camera is /camera."""
    with NodeThread(image_topics="[/camera/image_raw]", camera_info_topics="[/camera/camera_info]") as running:
        yield running


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """gld_sim_camera and gld_replay, as processes."""
    folder = tmp_path_factory.mktemp("cameras")
    camera = Camera(np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]]), np.eye(4), 32, 24)
    view = SourceView(np.zeros((24, 32, 3), np.uint8), camera, 1, np.ones((24, 32), np.float32))
    sequence = str(write_folder(folder / "sequence", [view]))
    processes = Processes(folder, time.monotonic() + 10 * PATIENCE)
    processes.start(
        "gld_sim_camera", "gld_ros.ros.drivers.sim_camera", {"stamps": "recorded", "wait_for_subscribers": 100}
    )
    processes.start(
        "gld_replay",
        "gld_ros.ros.drivers.replay",
        {"sequence": sequence, "stamps": "recorded", "wait_for_subscribers": 100},
    )
    yield processes
    processes.stop()


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not the venv of the Makefile")
def test_the_generated_documents_are_up_to_date():
    command = [sys.executable, "-m", "gld_ros.ros.interface.reference", "--check"]
    check = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert check.returncode == 0, check.stderr


def test_the_page_and_the_running_node_name_the_same(gld_node, observer):
    listed = {kind: documented("`gld_node`", title) for kind, title in TITLES.items()}
    assert all(len(names) == len(set(names)) for names in listed.values())
    common = {*EVERY_NODE, *LIFECYCLE_NODE}

    def own(names):
        return {re.sub(r"^/(camera/|(?=bond$))", "", name).replace("image_raw", "image") for name in names} - common

    def values():
        found = settled_interfaces(observer, "gld_node").names()
        running = {kind: own(found[kind]) for kind in TITLES} | {"common": common & set.union(*found.values())}
        return running, {k: set(v) - BY_SETTING for k, v in listed.items()} | {"common": common - {"/clock"}}

    compare(values)


@pytest.mark.parametrize("name", ["gld_sim_camera", "gld_replay"])
def test_the_page_and_the_running_cameras_name_the_same(cameras, observer, name):
    listed = {topic.removeprefix("/") for topic in documented("`gld_sim_camera`", "Published topics")}

    def values():
        found = settled_interfaces(observer, name).names()["publishes"]
        running = {template_name(topic.removeprefix("/")) for topic in found - {"/rosout", "/parameter_events"}}
        return running, listed - {"NAME/image_raw/compressed"}

    compare(values)


def test_the_page_and_the_running_node_have_the_same_parameters(gld_node, observer):
    client = observer.create_client(ListParameters, "/gld_node/list_parameters")
    assert client.wait_for_service(PATIENCE)
    future = client.call_async(ListParameters.Request())
    rclpy.spin_until_future_complete(observer, future, timeout_sec=PATIENCE)
    names = set(future.result().result.names)
    assert names - set(ROS_PARAMETERS) == set(documented("`gld_node`", "Parameters"))


@pytest.fixture
def node():
    """By another name: the graph would forget the first `gld_node` of this process when a second one is destroyed."""
    node = GLDNode(cli_args=["--ros-args", "-r", "__node:=live"])
    yield node
    node.close()
    node.destroy_node()


def plain(value):
    return value if isinstance(value, (str, bool, int, float)) else list(value)


def other_value(node, fact):
    """An allowed value that is not the present one."""
    descriptor = node.describe_parameter(fact.name)
    if fact.limits.startswith("One of "):
        return next(v for v in fact.limits.removeprefix("One of ").split(", ") if v != fact.default)
    for limit in [*descriptor.integer_range, *descriptor.floating_point_range]:
        return next(value for value in (limit.from_value, limit.to_value) if value != fact.default)
    if isinstance(fact.default, bool):
        return not fact.default
    if isinstance(fact.default, list):
        return [*fact.default[:-1], fact.default[-1] + ("x" if isinstance(fact.default[-1], str) else 1.0)]
    return f"{fact.default}x"


def test_live_parameters_take_effect_and_all_others_are_refused(node):
    rows = re.findall(r"^\| `(\w+)` \| (?:`[^`]*`)? \| (yes|no) \|", PAGE, re.MULTILINE)
    live = {name for name, word in rows if word == "yes"}
    facts = [fact for fact in parameters_of(node) if fact.name not in ROS_PARAMETERS]
    assert {name for name, _ in rows} >= {fact.name for fact in facts} and live
    for fact in facts:
        value = other_value(node, fact)
        (result,) = node.set_parameters([Parameter(fact.name, value=value)])
        assert result.successful == (fact.name in live), f"{fact.name}: {result.reason}"
        if fact.name in live:
            assert plain(node.get_parameter(fact.name).value) == value
            used = plain(getattr(node.parameters, fact.name))
            assert used == value, f"{fact.name} is set, but the node works on without it"
        else:
            assert "read-only" in result.reason
            assert plain(node.get_parameter(fact.name).value) == fact.default


def test_every_interface_has_a_meaning_and_no_meaning_is_left_over():
    described = {*MEANINGS, *CAMERA, *DASHBOARD}
    listed = {
        name
        for section in ("`gld_node`", "`gld_sim_camera`", "`gld_dashboard`")
        for t in TITLES.values()
        for name in documented(section, t)
    }
    assert listed == described


@pytest.mark.parametrize(
    "file",
    sorted([*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv"), *ROOT.glob("action/*.action")]),
    ids=lambda file: file.name,
)
def test_every_field_of_every_message_is_explained(file):
    for part in parse_interface(file.read_text()):
        for name, _, meaning in part.fields + part.constants:
            assert len(meaning) > 5, f"{file.name}: {name} has no comment"


# ---- the SROS2 policy


@pytest.mark.parametrize("name", ["gld_node", "gld_sim_camera", "gld_replay"])
def test_the_policy_allows_what_running_nodes_do_and_nothing_else(gld_node, cameras, observer, name):
    compare(lambda: (settled_interfaces(observer, name).names(), read_policy(POLICY)[name]))


# What sros2's schema (policy.xsd, version 0.2.0) says of each element: its attributes and children.
ALLOWED = {
    "policy": ({"version"}, {"enclaves"}),
    "enclaves": (set(), {"enclave"}),
    "enclave": ({"path"}, {"profiles"}),
    "profiles": (set(), {"profile"}),
    "profile": ({"ns", "node"}, {"topics", "services", "actions"}),
    "topics": ({"publish", "subscribe"}, {"topic"}),
    "services": ({"reply", "request"}, {"service"}),
    "actions": ({"call", "execute"}, {"action"}),
}
LEAVES = {"topic", "service", "action"}


def test_the_policy_is_valid_and_has_no_wildcards():
    root = ElementTree.fromstring(POLICY)
    assert root.tag == "policy" and root.attrib == {"version": "0.2.0"}
    for element in root.iter():
        if element.tag in LEAVES:
            assert re.fullmatch(r"(~?/)?[a-zA-Z]\w*(/[a-zA-Z]\w*)*", element.text), (
                f"{element.text}: not one exact name"
            )
        else:
            attributes, children = ALLOWED[element.tag]
            assert set(element.attrib) <= attributes
            assert {child.tag for child in element} <= children and len(element)
            if element.tag in ("topics", "services", "actions"):
                assert set(element.attrib.values()) == {"ALLOW"}
    paths = [enclave.attrib["path"] for enclave in root.iter("enclave")]
    assert paths == [
        f"/gld_ros/{node}" for node in ("gld_node", "gld_sim_camera", "gld_replay", "gld_demo", "gld_dashboard")
    ]
