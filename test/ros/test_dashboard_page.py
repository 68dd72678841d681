# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the dashboard's page says and draws, without ROS and without a browser (test/ros/test_dashboard.py has both)."""

import re

import numpy as np
import pytest

from gld_ros.ros.dashboard.health import ERROR, OK, WARN, Status, health_html, read_health
from gld_ros.ros.dashboard.scene import FREE, OCCUPIED, Cloud, Frusta, by_provenance, floor_plan, viewpoint

NODE = Status("/gld_node: node", 0, "active", {"state": "active", "model": "mini", "answers_NONE": "3"})
IMAGE = {"received": "9", "dropped_by_dds": "2", "dropped_no_pose": "1", "dropped": "3", "published": "0"}
TOPIC = Status("/gld_node: /camera/image", 0, "", IMAGE)


def read(*statuses, age=0.1):
    return read_health("/gld_node", statuses, age)


def test_health_of_a_good_node():
    health = read(NODE, TOPIC)
    assert (health.verdict, list(health.reasons)) == (OK, [])
    assert health.facts == {"state": "active", "model": "mini"}
    assert health.answers == {"NONE": 3}
    assert health.drops == {"by_dds": 2, "no_pose": 1}
    assert health.topics["/camera/image"]["received"] == 9


@pytest.mark.parametrize(
    "statuses, age, verdict, reason",
    [
        ([], None, ERROR, "no diagnostics of /gld_node yet"),
        ([NODE], 7.0, ERROR, "silent for 7 s"),
        ([Status(NODE.name, 0, "", {"state": "inactive"})], 0.1, ERROR, "inactive: it answers no request"),
        ([Status(NODE.name, 1, "GPU is hot", NODE.values)], 0.1, WARN, "node: GPU is hot"),
        ([NODE, Status("/gld_node: worker", 2, "stuck", {})], 0.1, ERROR, "worker: stuck"),
        ([NODE, Status("/gld_node: worker", 3, "", {})], 0.1, ERROR, "worker: ERROR"),
    ],
)
def test_what_makes_a_node_ill(statuses, age, verdict, reason):
    health = read(*statuses, age=age)
    assert health.verdict == verdict
    assert reason in health.reasons[0]


def test_other_statuses_and_odd_values_do_no_harm():
    health = read(NODE, Status("/gld_node: map", 0, "", {"cells": "7"}), Status(TOPIC.name, 0, "", {"received": "?"}))
    assert health.facts["map cells"] == "7"
    assert health.topics["/camera/image"]["received"] == 0


def test_html_shows_failures_by_code_and_escapes_what_came_from_the_network():
    evil = Status(
        NODE.name, 2, "<script>1</script>", {"model": "<img src=x>", "answers_TF_ERROR": "2", "state": "active"}
    )
    html = health_html("/gld_node", read(evil, TOPIC))
    assert "<script>" not in html and "<img" not in html
    text = re.sub(r"<[^>]*>", " ", html)
    assert re.search(r"answered\s+0\s+TF ERROR\s+2", text)
    assert re.search(r"by dds\s+2\s+no pose\s+1", text)
    assert "#cf222e" in html and "#1a7f37" not in html


@pytest.mark.parametrize("limit", [1, 7, 50, 100, 1000])
def test_thinned(limit):
    cloud = Cloud(np.zeros((100, 3), np.float32), np.zeros((100, 3), np.uint8), np.arange(100) < 30)
    thin = cloud.thinned(limit)
    assert min(limit, 100) / 2 <= len(thin.points) <= limit
    assert len(thin.points) == len(thin.colours) == len(thin.generated)
    assert len(cloud.part(True).points) == 30 and len(cloud.part(False).points) == 70


def test_provenance_can_be_told_from_the_colour_of_any_pixel():
    colours = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    red, green, _ = np.moveaxis(by_provenance(colours, np.zeros((50, 50), bool)).astype(int), -1, 0)
    assert (green > 2 * red).all()
    red, green, _ = np.moveaxis(by_provenance(colours, np.ones((50, 50), bool)).astype(int), -1, 0)
    assert (red > 1.5 * green).all()


def test_the_floor_plan_shows_what_the_cells_say():
    unknown, free, unsure, sure, occupied = floor_plan(np.array([[-1, 0, 1, 99, 100]], np.int8))[0].astype(int)
    assert unknown[3] == 0
    assert tuple(free) == (*FREE, 255) and tuple(occupied) == (*OCCUPIED, 255)
    for cell in (unsure, sure):
        assert cell[0] > 1.5 * cell[1] and cell[1] > 2 * cell[2]
    assert 0 < unsure[3] < sure[3] < 255


def test_viewpoint_has_the_cloud_in_front_and_looks_from_behind_the_camera():
    points = np.random.default_rng(0).normal((4, 0, 1), 0.3, (500, 3)).astype(np.float32)
    camera = Frusta("requests", np.array([[[0.0, 0, 1], [0.1, 0.1, 1.1]]]), (0, 0, 0))
    eye, centre = viewpoint(points, [camera])
    np.testing.assert_allclose(centre, (4, 0, 1), atol=0.1)
    assert eye[0] < -1 and eye[2] > 1.5
    eye, centre = viewpoint(points, [Frusta("requests", np.empty((0, 2, 3)), (0, 0, 0))])
    assert np.linalg.norm(eye - centre) > 1
