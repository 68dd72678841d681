# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters: one place, described, limited, live where they say so; config, docs and launch agree with it."""

import ast
import re
import sys
import threading
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter

from gld_ros.ros.declarations import read
from gld_ros.ros.node.guards import RCLError
from gld_ros.ros.node.intake import Intake
from gld_ros.ros.node.parameters import FIELDS, Parameters, declare_parameters
from gld_ros.ros.node.shared import Shared

ROOT = Path(__file__).parents[2]


@pytest.fixture
def node():
    node = rclpy.create_node("gld_node", enable_rosout=False)
    yield node
    node.destroy_node()


def test_all_are_declared_with_descriptors(node):
    assert declare_parameters(node) == Parameters()
    for name, field in FIELDS.items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description
        assert descriptor.read_only != field.metadata["live"]
        if type(field.default) in (int, float):
            assert descriptor.integer_range or descriptor.floating_point_range


def test_a_pose_topic_that_cannot_be_leaves_no_thread_behind(node):
    parameters = Parameters(pose_source="odometry", pose_topic="my odom")
    with pytest.raises(RCLError, match="topic name"):
        Intake(Shared(node, parameters), None, None)
    assert "gld_intake" not in {thread.name for thread in threading.enumerate()}
    assert not [name for name, _ in node.get_subscriber_names_and_types_by_node("gld_node", "/") if "image" in name]


@pytest.mark.parametrize(
    ("topics", "reason"),
    (
        (
            {"image_topics": ["a", "b"], "camera_info_topics": ["c", "d"], "depth_topics": ["e"]},
            r"depth_topics \['e'\] are 1 for 2 image_topics \['a', 'b'\]; one for each is expected, '' for a camera",
        ),
        (
            {"depth_topics": ["depth"], "depth_camera_info_topics": ["a", "b"]},
            r"depth_camera_info_topics \['a', 'b'\] are 2 for 1 image_topics",
        ),
        ({"depth_camera_info_topics": ["info"]}, "has info for a camera without depth in depth_topics"),
    ),
)
def test_depth_topics_that_cannot_be_are_named(topics, reason):
    overrides = [Parameter(name, value=value) for name, value in topics.items()]
    node = rclpy.create_node("gld_node", enable_rosout=False, parameter_overrides=overrides)
    try:
        with pytest.raises(ValueError, match=reason):
            declare_parameters(node)
    finally:
        node.destroy_node()


def test_live_ones_can_be_set(node):
    declare_parameters(node)
    (result,) = node.set_parameters([Parameter("keyframe_translation", value=0.5)])
    assert result.successful
    assert read(node, Parameters).keyframe_translation == 0.5


def test_the_parameter_file_names_every_parameter_with_its_default_and_a_comment():
    text = (ROOT / "config" / "gld.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    defaults = {name: list(f.default) if isinstance(f.default, tuple) else f.default for name, f in FIELDS.items()}
    assert values == defaults
    for name, field in FIELDS.items():
        comment = re.search(rf"((?:    # .*\n)+)    {name}:", text)
        assert comment, f"{name} has no comment"
        assert ("(live)" in comment[1]) == field.metadata["live"]


def test_the_interface_page_lists_every_parameter_with_its_default():
    page = (ROOT / "docs" / "interfaces.md").read_text()
    (page,) = re.findall(r"^## `gld_node`\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? \| (yes|no) \|", page, re.MULTILINE)
    listed = {name: (yaml.safe_load(default) if default else "", live == "yes") for name, default, live in rows}
    declared = {
        name: (list(f.default) if isinstance(f.default, tuple) else f.default, f.metadata["live"])
        for name, f in FIELDS.items()
    }
    assert listed == declared


def test_the_launch_file_compiles_and_describes_its_arguments():
    tree = ast.parse((ROOT / "launch" / "gld.launch.py").read_text())
    (table,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS"]
    arguments = {key.value: value.elts[1].value for key, value in zip(table.keys, table.values, strict=True)}
    assert set(arguments) >= {
        "model",
        "config",
        "image",
        "camera_info",
        "namespace",
        "tf",
        "use_sim_time",
        "autostart",
        "security_enclave",
        "rviz",
    }
    assert all(len(description) > 10 for description in arguments.values())


def test_a_parameter_file_that_is_not_there_is_refused(monkeypatch, tmp_path):
    """Whether launch is installed or not: here it is a stand-in that knows what `config` is."""
    modules = ("", ".actions", ".conditions", ".launch_description_sources", ".substitutions")
    for name in (*(f"launch{module}" for module in modules), "launch_ros.actions", "launch_ros.parameter_descriptions"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    names = {}
    exec(compile((ROOT / "launch" / "gld.launch.py").read_text(), "gld.launch.py", "exec"), names)
    sys.modules["launch.substitutions"].LaunchConfiguration.return_value.perform = lambda context: context["config"]
    (tmp_path / "mine.yaml").write_text("{}")
    names["check_config"]({"config": str(tmp_path / "mine.yaml")})
    with pytest.raises(RuntimeError, match=r"config:=.*nothing.yaml: there is no such file; a YAML file"):
        names["check_config"]({"config": str(tmp_path / "nothing.yaml")})
    names["generate_launch_description"]()
    launched = names["LifecycleNode"].call_args.kwargs["remappings"]
    assert [old for old, _ in launched] == ["/tf", "/tf_static"] and launched[1][1] == [launched[0][1], "_static"]
    names["OpaqueFunction"].assert_called_once_with(function=names["check_config"])


def test_the_launch_description_on_a_distribution():
    pytest.importorskip("launch_ros", reason="launch and launch_ros are not on PyPI; a ROS distribution has them")
    names = {}
    source = (ROOT / "launch" / "gld.launch.py").read_text()
    exec(compile(source, "gld.launch.py", "exec"), names)
    description = names["generate_launch_description"]()
    assert {argument.name for argument in description.get_launch_arguments()} == set(names["ARGUMENTS"])
