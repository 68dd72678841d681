# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `gld synthesize` leaves opens elsewhere: the MCAP in mcap and rerun, the page in a browser without a network."""

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from browser import Browser, find_browser
from rosbags.typesys import Stores, get_typestore

from gld_ros.cli import main
from gld_ros.data.scene_file import write_scene
from gld_ros.data.sequence import write_folder
from gld_ros.data.simulation import Robot
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import matrix_from_quaternion, rigid
from gld_ros.scene.ply import Points, read_ply
from gld_ros.views import SourceView

TYPES = get_typestore(Stores.ROS2_JAZZY)
SIZE = (96, 72)
ROBOT = Robot(1_000_000_023, 12, *SIZE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder that a run of the command left: two sources, a target between them and one that looks aside."""
    root = tmp_path_factory.mktemp("synthesize")
    aside = ROBOT.beside(11, 0.5, 0.0, 0.6)
    write_folder(root / "drive", [*ROBOT.views([0, 6, 11]), *ROBOT.render([aside], [2_500_000_000])])
    given = ["synthesize", str(root / "drive"), "--sources", "0,2", "--targets", "1,3", "--device", "cpu"]
    assert main([*given, "--out", str(root / "out")]) == 0
    return root / "out"


def messages(path):
    """topic -> messages, as the mcap package reads them."""
    from mcap.reader import make_reader

    found = {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema.encoding == "ros2msg" and schema.data and channel.message_encoding == "cdr"
            found.setdefault(channel.topic, []).append(TYPES.deserialize_cdr(message.data, kind(schema.name)))
    return found


def kind(name):
    return name if "/msg/" in name else "/msg/".join(name.split("/"))


def poses(found):
    """frame -> (4, 4) pose in the map, by TF."""
    edges = {}
    for message in [*found["/tf_static"], *found.get("/tf", [])]:
        for edge in message.transforms:
            t, r = edge.transform.translation, edge.transform.rotation
            pose = rigid(matrix_from_quaternion(np.array([r.x, r.y, r.z, r.w])), [t.x, t.y, t.z])
            edges[edge.child_frame_id] = edge.header.frame_id, pose

    def pose(frame):
        if frame == "map":
            return np.eye(4)
        parent, matrix = edges[frame]
        return pose(parent) @ matrix

    return {frame: pose(frame) for frame in edges}


def test_the_mcap_package_reads_pictures_cameras_depth_cloud_and_poses(run):
    pytest.importorskip("mcap")
    found = messages(run / "scene.mcap")
    names = ("source_00", "source_01", "view_00", "view_01")
    wanted = {f"/{name}/{part}" for name in names for part in ("image_raw", "camera_info")}
    depths = {f"/view_{k:02d}/depth/image_raw" for k in (0, 1)}
    assert set(found) == wanted | depths | {"/points", "/tf", "/tf_static"}
    where = poses(found)
    for name, camera in zip(("source_00", "view_00", "source_01"), (ROBOT.cameras[i] for i in (0, 6, 11)), strict=True):
        assert np.allclose(where[f"{name}_optical_frame"], camera.c2w, atol=1e-5)
        (info,) = found[f"/{name}/camera_info"]
        assert info.header.frame_id == f"{name}_optical_frame"
        assert info.k[2] == pytest.approx(camera.K[0, 2] - 0.5) and (info.width, info.height) == SIZE
    (depth,) = found["/view_00/depth/image_raw"]
    assert depth.encoding == "32FC1"
    metres = depth.data.view(np.float32).reshape(SIZE[::-1])
    assert np.array_equal(metres, np.load(run / "view_00_depth.npy"), equal_nan=True)
    (cloud,) = found["/points"]
    assert cloud.header.frame_id == "map" and cloud.width * cloud.point_step == len(cloud.data)
    table = cloud.data.view([("xyz", "<f4", 3), ("bgr", "u1", 4), ("confidence", "<f4"), ("generated", "u1")])
    ply = read_ply(run / "points.ply")
    assert np.allclose(table["xyz"], ply.xyz, atol=1e-5)
    assert np.array_equal(table["bgr"][:, 2::-1], ply.rgb) and np.array_equal(table["generated"] > 0, ply.generated)


def test_a_cloud_of_large_coordinates_has_a_frame_of_its_own(tmp_path):
    pytest.importorskip("mcap")
    place = np.array([500_000.0, 5_400_000.0, 100.0])
    xyz = place + np.array([[0.001, 0.0, 2.0], [0.0, 0.002, 2.0], [np.nan] * 3])
    points = Points(xyz, np.zeros((3, 3), np.uint8), np.ones(3, np.float32), np.zeros(3, bool))
    camera = Camera(intrinsics(8, 8, 4, 4), rigid(np.eye(3), place), 8, 8)
    write_scene(tmp_path / "far.mcap", [("view_00", SourceView(np.zeros((8, 8, 3), np.uint8), camera, 7))], points)
    found = messages(tmp_path / "far.mcap")
    (cloud,) = found["/points"]
    frame = poses(found)[cloud.header.frame_id]
    near = cloud.data.view([("xyz", "<f4", 3), ("rest", "V9")])["xyz"]
    assert np.allclose(near + frame[:3, 3], xyz[:2], atol=1e-4) and cloud.header.stamp.nanosec == 7
    assert sorted(file.name for file in tmp_path.iterdir()) == ["far.mcap"]


def test_rerun_understands_the_mcap(run, tmp_path):
    """Its own importer makes rerun's images, pinholes, transforms and points of the ROS messages."""
    rr = pytest.importorskip("rerun")
    recording = rr.RecordingStream("gld_ros")
    recording.save(tmp_path / "scene.rrd")
    recording.log_file_from_path(run / "scene.mcap")
    recording.flush()
    recording.disconnect()
    command = [sys.executable, "-m", "rerun", "rrd", "print", "-v", str(tmp_path / "scene.rrd")]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    parts = Counter(re.findall(r"(/\S+)@(\w+:\w+)", printed.stdout))
    for entity, component in {
        "/view_00/image_raw": "Image:buffer",
        "/view_00/depth/image_raw": "DepthImage:buffer",
        "/view_00/camera_info": "Pinhole:image_from_camera",
        "/source_01/image_raw": "Image:buffer",
        "/points": "Points3D:positions",
        "/tf_static": "Transform3D:translation",
    }.items():
        assert parts[entity, component] == 1, (entity, component, parts)


def test_the_page_is_one_file_that_shows_the_cloud(run, tmp_path):
    text = (run / "results.html").read_text()
    assert not re.search(r"(?:src|href)=.(?!data:)|https?://|@import|fetch\(", text)
    report = json.loads((run / "report.json").read_text())
    if find_browser() is None:
        pytest.skip("no chromium, chromium-browser or google-chrome here")
    alone = tmp_path / "alone.html"  # nothing beside it
    alone.write_text(text)
    browser = Browser(alone.as_uri(), tmp_path / "profile", 900, 1200)
    try:
        browser.wait(lambda: "points. Drag" in browser.text("[data-points] p"), "the page")
        assert browser.evaluate("document.querySelector('img').naturalWidth") > 300
        assert f"{report['views'][0]['psnr_db']:.4g}" in browser.text("table")
        read = "(() => { const c = document.querySelector('canvas'), g = c.getContext('webgl'), p = new Uint8Array(4 *"
        read += " c.width * c.height); g.readPixels(0, 0, c.width, c.height, g.RGBA, g.UNSIGNED_BYTE, p);"
        read += (
            " let n = 0, pink = 0; for (let i = 0; i < p.length; i += 4) { if (p[i] + p[i + 1] + p[i + 2] < 765) n++;"
        )
        read += " if (p[i] > p[i + 1] + 80 && p[i + 2] > p[i + 1] + 50) pink++; } return [n, pink, c.toDataURL()]; })()"
        shown, pink, first = browser.evaluate(read)
        assert shown > 5000 and pink < shown / 100
        browser.evaluate("document.querySelector('canvas').scrollIntoView()")
        for event, x in (("mousePressed", 300), ("mouseMoved", 400), ("mouseReleased", 400)):
            box = browser.evaluate("(b => [b.x, b.y])(document.querySelector('canvas').getBoundingClientRect())")
            browser.call("Input.dispatchMouseEvent", type=event, x=box[0] + x, y=box[1] + 200, button="left", buttons=1)
        turned, _, second = browser.evaluate(read)
        assert turned > 1000 and second != first
        browser.evaluate("document.querySelector('input').click()")
        assert browser.evaluate(read)[1] > 500  # what was generated is pink now
    finally:
        browser.close()
