# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval-costmap`: obstacles of the map against the sensor's, cell by cell, above the ground that was found."""

import json

import numpy as np
import pytest
from PIL import Image

from gld_ros.cli import main
from gld_ros.data.sequence import write_folder
from gld_ros.data.simulation import Robot
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.costmap import CELLS, THRESHOLDS, jitter
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.ground import ground_frame
from gld_ros.geometry.se3 import look_at, rigid
from gld_ros.metrics.obstacles import coarsened, obstacle_errors
from gld_ros.scene.map.occupancy import OccupancyGrid
from gld_ros.views import SourceView

TURNED = rigid(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), [3.0, -2.0, 5.0])  # y down instead of z up, moved
KEPT = range(0, 26, 2)


def grid(rows, x=0.0):
    return OccupancyGrid(np.array([x, 0.0]), 0.1, np.array(rows, np.int8))


def test_obstacles_are_counted_cell_by_cell():
    real = grid([[100, 100, 0, 0, -1], [100, 0, 0, 0, -1]])
    found = grid([[100, 0, 100, 100, 100], [-1, 40, 0, 99, -1]])
    errors = obstacle_errors(found, real)
    assert errors["obstacles"] == 3 and errors["recall"] == pytest.approx(1 / 3)
    assert errors["wrongly_cleared"] == pytest.approx(1 / 3)  # unknown is not cleared; 1 to 99 is no mark
    assert errors["marks"] == 4 and errors["unjudged"] == 1
    assert errors["false_marks"] == pytest.approx(2 / 3) and errors["false_marks_far"] == pytest.approx(1 / 3)


def test_grids_of_other_extents_meet_on_the_same_cells():
    real, found = grid([[100, 0]]), grid([[-1, 100]], x=-0.1)
    assert obstacle_errors(found, real)["recall"] == 1
    assert obstacle_errors(grid([[100]], x=0.5), real)["recall"] == 0
    assert obstacle_errors(grid([[-1]]), grid([[-1]]))["recall"] is None
    with pytest.raises(ValueError, match="differ"):
        obstacle_errors(grid([[100]], x=0.05), real)


def test_coarser_cells_keep_every_obstacle_and_need_free_ones():
    fine = np.array([[100, 0, 0, -1, 0], [0, 0, -1, -1, 50]])
    assert coarsened(fine, 2, 0.5).tolist() == [[100, -1, -1]] and coarsened(fine, 2, 0.0).tolist() == [[100, 0, 0]]
    found, real = grid([[-1, 100], [-1, -1]]), grid([[-1, -1], [100, -1]])
    assert obstacle_errors(found, real)["recall"] == 0 and obstacle_errors(found, real, 2)["recall"] == 1


def test_the_ground_is_below_a_table_and_level_as_the_cameras_are_held():
    rng = np.random.default_rng(1)
    floor = np.column_stack([rng.uniform(0, 4, (600, 2)), rng.normal(0, 0.005, 600)])
    table = np.column_stack([rng.uniform(1, 2, (900, 2)), np.full(900, 0.7)])
    wall = np.column_stack([np.full(900, 4.0), rng.uniform(0, 4, 900), rng.uniform(0, 2, 900)])
    points = np.concatenate([floor, table, wall, [[np.nan] * 3]])
    c2w = look_at(np.array([0.0, 0.0, 1.2]), np.array([3.0, 1.0, 0.6]))
    camera = Camera(intrinsics(50, 50, 32, 24), TURNED @ c2w, 64, 48)
    moved = points @ TURNED[:3, :3].T + TURNED[:3, 3]
    to_map, _ = ground_frame(moved, [camera])
    assert np.allclose(to_map[2, :3], TURNED[:3, 2], atol=0.01)
    assert (to_map @ [*camera.center, 1])[:3] == pytest.approx([0, 0, 1.2], abs=0.02)
    assert np.allclose(to_map[:3, :3] @ to_map[:3, :3].T, np.eye(3)) and np.linalg.det(to_map[:3, :3]) > 0
    for few in (moved[:2], moved[1500:2400]):  # two points; a wall alone
        with pytest.raises(InvalidRequest, match="no ground"):
            ground_frame(few, [camera])


def test_jitter_is_that_of_the_scale():
    assert jitter(np.array([0.1]))["step"] is None
    assert jitter(np.array([0.0, 0.1, 0.0])) == {
        "median": 0.0,
        "deviation": pytest.approx(0.0471, abs=1e-3),
        "step": pytest.approx(0.1),
    }


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Folders of a simulated drive with depth, the second without; the poses' frame has y down."""
    views = Robot(1_000_000_023, max(KEPT) + 1, 96, 72).views(list(KEPT))
    turned = [SourceView(v.image, v.camera.moved(TURNED @ v.camera.c2w), v.stamp, v.depth) for v in views]
    root = tmp_path_factory.mktemp("costmap")
    write_folder(root / "drive", turned)
    write_folder(root / "blind", [SourceView(v.image, v.camera, v.stamp) for v in turned])
    return root


def test_the_command_measures_and_plots(drive, tmp_path, capsys):
    given = ["eval-costmap", "mini", "--device", "cpu", "--data", f"nerfstudio:{drive / 'drive'}"]
    assert main([*given, "--out", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    figures = report["sequences"]["drive"]
    assert np.allclose(figures["ground"]["up"], TURNED[:3, 2], atol=0.05)
    robot = Robot(1_000_000_023, 1, 96, 72)
    assert figures["camera_height"] == pytest.approx(robot.cameras[0].center[2], abs=0.05)
    assert figures["key_frames"] > 8 and figures["without_depth"] == 1  # the first has no parallax
    assert 0 < figures["depth_abs_rel"] < 0.3 and 0 < figures["scale"]["step"] < 0.2
    assert set(figures["cells"]) == {f"{cell:g}" for cell in CELLS}
    for rows in figures["cells"].values():
        assert [row["confidence"] for row in rows] == list(THRESHOLDS)
        recalls = [row["recall"] for row in rows]
        assert recalls == sorted(recalls, reverse=True) and recalls[0] > 0.3 > recalls[-1] - 0.3
        assert all(row["marks"] >= row["unjudged"] for row in rows) and rows[0]["obstacles"] > 20
    assert Image.open(tmp_path / "costmap.png").size[1] > 200


def test_the_poses_frame_can_be_the_maps(drive, capsys):
    given = ["eval-costmap", "mini", "--device", "cpu", "--data", f"nerfstudio:{drive / 'drive'}"]
    assert main([*given, "--ground", "frame", "--confirmations", "0"]) == 0
    text = capsys.readouterr().out
    assert "up is (0.00, 0.00, 1.00)" in text and "wrongly" not in text.split("\n")[0]


def test_a_sequence_without_depth_is_refused(drive, capsys):
    assert main(["eval-costmap", "mini", "--device", "cpu", "--data", f"nerfstudio:{drive / 'blind'}"]) == 1
    assert "no frame has the depth of a sensor" in capsys.readouterr().err
