# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags without CameraInfo or poses, with a calibration file and a trajectory beside them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from builders.bags import calibration, copy_bag, trajectory
from builders.datasets import FIRST_TIME, HEIGHT, K, rendered

from gld_ros.cli import main
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import Sequence, open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, invert

OPTICAL = "camera_optical_frame"


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """(topics, cameras=) -> a bag of the room that lacks these topics, made once."""
    return cache(lambda *topics, cameras=1: made_without(tmp_path_factory.mktemp("bag"), topics, cameras))


def made_without(tmp_path: Path, topics: tuple[str, ...], cameras: int) -> Path:
    """cameras: 2 adds one that sits 0.1 m beside the first."""
    views, names = list(rendered()), ["camera"] * len(rendered())
    if cameras > 1:
        beside = np.eye(4)
        beside[0, 3] = 0.1
        views += [type(v)(v.image, v.camera.moved(v.camera.c2w @ beside), v.stamp, v.depth) for v in rendered()]
        names += ["right"] * len(rendered())
    folder = write_folder(tmp_path / "folder", views, names)
    copy_bag(folder, tmp_path / "bag", lambda topic, _: topic not in topics)
    return tmp_path / "bag"


def is_the_room(sequence: Sequence, count: int = len(rendered())) -> None:
    assert len(sequence.frames) == count
    for frame, view in zip(sequence.frames, rendered()[-count:], strict=True):
        np.testing.assert_allclose(frame.camera.K, K, atol=1e-9)
        np.testing.assert_allclose(frame.camera.c2w, view.camera.c2w, atol=1e-6)
        np.testing.assert_array_equal(frame.view().image, view.image)


def test_neither_camera_info_nor_poses(tmp_path, without):
    """By the commands, by a line of data, and by what the error says before."""
    bag = without("/camera/camera_info", "/tf", "/tf_static")
    files = calibration(tmp_path), trajectory(tmp_path)
    with pytest.raises(InvalidRequest, match="no CameraInfo on /camera/camera_info, .*--calibration FILE"):
        open_sequence(bag)
    options = ["--calibration", str(files[0]), "--trajectory", str(files[1])]
    is_the_room(open_sequence(bag, calibration=files[0], trajectory=files[1]))
    assert main(["data", "to-bag", str(bag), str(tmp_path / "whole"), *options]) == 0
    is_the_room(open_sequence(tmp_path / "whole"))
    assert main(["data", "from-bag", str(bag), str(tmp_path / "keys"), "--translation", "0", *options]) == 0
    is_the_room(open_sequence(tmp_path / "keys"))
    line = f"rosbag2:{bag}?calibration={files[0]}&trajectory={files[1]}"
    assert main(["data", "check", line]) == 0
    is_the_room(open_sequence(line))
    assert len(open_scenes(line).frames(0)) == len(rendered())
    command = ["synthesize", str(bag), "--sources", "0,4", "--targets", "2", "--out", str(tmp_path / "out"), *options]
    assert main(command) == 0 and (tmp_path / "out/report.json").exists()


def test_files_win_over_what_was_recorded(tmp_path, without):
    bag = without()
    wide = ", ".join(map(str, ((K - HALF_PIXEL) * [[2], [2], [1]]).ravel()))
    file = calibration(tmp_path, camera_matrix=f"{{rows: 3, cols: 3, data: [{wide}]}}")
    moved = trajectory(tmp_path)
    lines = [line.split() for line in moved.read_text().splitlines()[1:]]
    moved.write_text("\n".join(" ".join([a, str(float(x) + 5), *rest]) for a, x, *rest in lines))
    frames = open_sequence(bag, calibration=file, trajectory=moved).frames
    np.testing.assert_allclose(frames[0].camera.K[0, 0], 2 * K[0, 0])
    np.testing.assert_allclose(frames[3].camera.center - rendered()[3].camera.center, (5, 0, 0), atol=1e-6)


def test_a_distorted_lens(tmp_path, without):
    bag = without("/camera/camera_info")
    coefficients = "{rows: 1, cols: 5, data: [0.1, -0.03, 0, 0, 0]}"
    frame = open_sequence(bag, calibration=calibration(tmp_path, distortion_coefficients=coefficients)).frames[0]
    assert (frame.view().image != rendered()[0].image).any() and frame.camera.K[0, 0] != K[0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    (
        ({"image_width": None}, "camera.yaml: image_width is None, a number of pixels is expected, as camera_calib"),
        ({"camera_matrix": None}, "camera_matrix is missing; rows, cols and data are expected"),
        ({"camera_matrix": "{rows: 3, cols: 3, data: [1, 2]}"}, "camera_matrix is .*, 3 x 3 finite numbers"),
        ({"distortion_coefficients": None}, "distortion_coefficients is missing"),
        ({"distortion_model": None}, "distortion_model is None, a name such as plumb_bob"),
        ({"distortion_model": "mirror", "distortion_coefficients": "{data: [0.1]}"}, "unknown distortion model 'mir"),
        ({"image_width": 160}, f"it is of 160x{HEIGHT} pixels, the images on /camera/image_raw have 80x60"),
        ({"image_width": "[1"}, "camera.yaml: not valid YAML"),
    ),
)
def test_a_wrong_calibration_is_named(tmp_path, without, changes, message):
    bag = without("/camera/camera_info")
    with pytest.raises(InvalidRequest, match=message):
        open_sequence(bag, calibration=calibration(tmp_path, **changes))


@pytest.mark.parametrize(("seconds", "count"), ((4e-7, 6), (9e-4, 6), (-9e-4, 6), (0.01, 5), (-0.01, 5)))
def test_rounded_stamps(tmp_path, without, seconds, count):
    """A pose within a millisecond is the image's where there are no two around it."""
    frames = open_sequence(without("/tf", "/tf_static"), trajectory=trajectory(tmp_path, seconds=seconds)).frames
    assert len(frames) == count
    for frame in frames:
        view = next(view for view in rendered() if view.stamp == frame.stamp)
        np.testing.assert_allclose(frame.camera.center, view.camera.center, atol=0.11 * abs(seconds) / 0.1 + 1e-6)


def test_nothing_is_interpolated_over_gaps(tmp_path, without):
    """Key frames of a SLAM: images between them have no pose."""
    file = trajectory(tmp_path)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1::2]))
    frames = open_sequence(without("/tf", "/tf_static"), trajectory=file).frames
    assert [frame.stamp for frame in frames] == [view.stamp for view in rendered()[::2]]


def test_wrong_trajectories_are_named(tmp_path, without):
    bag = without("/tf", "/tf_static")
    apart = trajectory(tmp_path, seconds=1000)
    with pytest.raises(InvalidRequest, match="no pose") as error:
        open_sequence(bag, trajectory=apart)
    assert f"{FIRST_TIME // 10**9 + 1000}.000 to" in str(error.value) and "1300000000" in str(error.value)
    apart.write_text("1 2 3\n")
    with pytest.raises(InvalidRequest, match="trajectory.txt: entry 0 has 3 columns, 8 are expected"):
        open_sequence(bag, trajectory=apart)
    with pytest.raises(InvalidRequest, match="none.txt: cannot be read"):
        open_sequence(bag, trajectory=tmp_path / "none.txt")
    with pytest.raises(InvalidRequest, match="the frame 'base_link' of a trajectory, and no trajectory"):
        open_sequence(bag, trajectory_frame="base_link")


def test_a_trajectory_of_the_robot_and_cameras_that_sit_on_it(tmp_path, without):
    """Both cameras hang on base_link by /tf_static: poses of one of them, or of base_link, are those of both."""
    bag = without("/tf", cameras=2)
    with pytest.raises(InvalidRequest, match=f"of which camera .* frames {OPTICAL}, right_optical_frame"):
        open_sequence(bag, trajectory=trajectory(tmp_path))
    for frame, file in (
        (OPTICAL, trajectory(tmp_path)),
        ("base_link", trajectory(tmp_path, BODY_FROM_OPTICAL)),
    ):
        frames = open_sequence(bag, trajectory=file, trajectory_frame=frame).frames
        by_camera = {name: [f for f in frames if f.camera_name == name] for name in ("camera", "right")}
        for left, right, view in zip(*by_camera.values(), rendered(), strict=True):
            np.testing.assert_allclose(left.camera.c2w, view.camera.c2w, atol=1e-6)
            offset = invert(left.camera.c2w) @ right.camera.c2w
            np.testing.assert_allclose(offset[:3, 3], (0.1, 0, 0), atol=1e-6)
    with pytest.raises(InvalidRequest, match="of the frame 'imu', and TF does not lead from there to 'camera_opt"):
        open_sequence(bag, trajectory=file, trajectory_frame="imu")


def test_one_calibration_for_two_cameras_is_refused(tmp_path, without):
    bag = without("/camera/camera_info", "/right/camera_info", cameras=2)
    with pytest.raises(InvalidRequest, match="2 cameras that it may be of: /camera/camera_info, /right/camera_info"):
        open_sequence(bag, calibration=calibration(tmp_path))
    sequence = open_sequence(f"rosbag2:{bag}?camera=right", calibration=calibration(tmp_path))
    assert sequence.camera_names == ["right"] and len(sequence.frames) == len(rendered())
    with pytest.raises(InvalidRequest, match="no camera 'left' in it, but camera, right"):
        open_sequence(without(cameras=2), camera="left")


def test_options_of_a_line_choose_frames_for_every_command(tmp_path, without):
    bag = without()
    assert len(open_sequence(f"nerfstudio:{write_folder(tmp_path / 'folder', rendered())}?frames=1-4").frames) == 3
    assert main(["data", "to-bag", f"nerfstudio:{tmp_path / 'folder'}?frames=2-4", str(tmp_path / "part")]) == 0
    assert [frame.stamp for frame in open_sequence(tmp_path / "part").frames] == [v.stamp for v in rendered()[2:4]]
    with pytest.raises(InvalidRequest, match="no frames of these numbers, it has 6"):
        open_sequence(f"nerfstudio:{tmp_path / 'folder'}?frames=10-20")
    assert len(open_sequence(f"rosbag2:{bag}?camera=camera").frames) == 6


def test_folders_have_their_own(tmp_path):
    folder = write_folder(tmp_path / "folder", rendered())
    with pytest.raises(InvalidRequest, match=r"folder \(.*\): unknown option 'calibration', one of camera, frames"):
        open_sequence(folder, calibration=calibration(tmp_path))
