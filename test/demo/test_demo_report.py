# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's report, from answers made up here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builtin_interfaces.msg import Time

from gld_ros.data.simulation import Robot
from gld_ros.msg import SynthesizedView
from gld_ros.ros.client_messages import ReceivedView
from gld_ros.ros.demo.report import Answer, Outcome, write_demo_report
from gld_ros.ros.demo.scenario import Scenario

NEEDED = 0.25


@pytest.fixture(scope="module")
def scenario():
    """Three frames of a drive, the middle one asked for."""
    robot = Robot(1_000_000_011, 3, 64, 48)
    first, target, last = robot.views([0, 1, 2])
    return Scenario(
        name="made up",
        camera_module="",
        camera_parameters={},
        camera_names=["camera"],
        sources=[("camera", first.camera), ("camera", last.camera)],
        stamps=[first.stamp, last.stamp],
        source=lambda index: (first, last)[index],
        targets=[target],
        titles=["between"],
        requests=[[0]],
        way=(target.camera, last.camera),
        unit="m",
        notes=[],
        least_generated=NEEDED,
    )


def response(scenario, share, factor=1.0):
    """A view as it really is, its depth times `factor`, the left `share` of it called generated."""
    target = scenario.targets[0]
    generated = np.zeros(target.depth.shape, bool)
    generated[:, : round(share * generated.shape[1])] = True
    message = SynthesizedView(model="a model", scale=1.0, scale_method="stereo")
    message.source_stamps = [Time(sec=s // 10**9, nanosec=s % 10**9) for s in scenario.stamps]
    depth, confidence = factor * target.depth.astype(np.float32), np.ones(generated.shape, np.float32)
    return ReceivedView(target.image, depth, confidence, generated, target.camera, target.stamp, message)


def outcome(scenario, target_share, path_share):
    views = [response(scenario, target_share, factor) for factor in (1.0, 1.1, 1.21)]
    answer = Answer(0, views, 0.1)
    return Outcome([answer], [0.1] * 3, path=[response(scenario, path_share)] * 3, path_requested=3, path_feedback=3)


@pytest.mark.parametrize(("shares", "enough"), (((0.75, 0.0), True), ((0.25, 0.125), False)))
def test_a_demo_that_generates_too_little_fails(scenario, tmp_path, capsys, shares, enough):
    assert write_demo_report(tmp_path, scenario, outcome(scenario, *shares), {}, "mini", 1.0) is enough
    mean = np.mean(shares)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["generated_share"] == pytest.approx(mean) and bool(report["errors"]) is not enough
    assert f"generated: {100 * mean:.0f} % of the requested pixels" in capsys.readouterr().out.splitlines()


def test_the_spread_is_that_of_the_seeds(scenario, tmp_path):
    write_demo_report(tmp_path, scenario, outcome(scenario, 0.5, 0.5), {}, "mini", 1.0)
    view = json.loads((tmp_path / "report.json").read_text())["views"][0]
    assert view["depth_spread_unobserved"] == pytest.approx(np.log(1.1), rel=1e-3)
    assert view["depth_spread_observed"] == pytest.approx(np.log(1.1), rel=1e-3) and view["seeds"] == 3
    assert view["depth_abs_rel_unobserved"] == pytest.approx(0, abs=1e-6) and view["generated_share"] == 0.5


def test_a_missing_path_view_fails(scenario, tmp_path):
    short = outcome(scenario, 0.5, 0.5)
    short.path.pop()
    assert not write_demo_report(tmp_path, scenario, short, {}, "mini", 1.0)
