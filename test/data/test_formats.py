# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every format: the room that was written comes back, cameras included, and what is wrong is named."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
import torch
from builders import datasets
from builders.datasets import COUNT, FORMATS, HEIGHT, LOSSY, WIDTH, WITH_DEPTH, rendered, room
from PIL import Image

from gld_ros.data.scenes import KINDS, open_scenes
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera

ALL = list(range(COUNT))


@pytest.fixture(params=FORMATS)
def scenes(request, tmp_path):
    opened = FORMATS[request.param](tmp_path / "data")
    opened.kind = request.param
    return opened


def test_every_kind_is_tested():
    assert set(FORMATS) | {"rooms", "nerfstudio"} == set(KINDS)


def test_images_cameras_depth_and_times_come_back(scenes):
    assert list(scenes.names) == ["room"] and len(scenes) == 1 and scenes.find("room") == 0
    clip = scenes.load(0, ALL).check()
    images = np.stack([view.image for view in rendered()])
    difference = (clip.images.permute(0, 2, 3, 1) * 255 - torch.from_numpy(images)).abs()
    assert difference.max() < (12 if scenes.kind in LOSSY else 1e-3) and difference.mean() < 1
    for k, view in enumerate(rendered()):
        np.testing.assert_allclose(clip.K[k], view.camera.K, atol=1e-3)
        np.testing.assert_allclose(clip.c2w[k], view.camera.c2w, atol=1e-5)
    assert (clip.depth is not None) == (scenes.kind in WITH_DEPTH)
    if clip.depth is not None:
        np.testing.assert_allclose(clip.depth, np.stack([view.depth for view in rendered()]), atol=6e-4)
    gaps = np.diff([frame.stamp for frame in scenes.frames(0)])
    np.testing.assert_allclose(gaps, 100_000_000, atol=2000)


@pytest.mark.parametrize("size", ((WIDTH, HEIGHT), (40, 30), (36, 36), (60, 24)))
def test_the_room_seen_by_the_cameras_that_were_read_is_the_image_that_was_read(scenes, size):
    """Conventions, crop and resize at once: rendering with K and c2w of the clip gives the clip."""
    clip = scenes.load(0, [3, 1], size)
    assert clip.size == size
    cameras = [Camera(clip.K[k].numpy(), clip.c2w[k].numpy(), *size) for k in range(2)]
    for camera in cameras:  # the principal point in the middle, but for whole pixels
        np.testing.assert_allclose(camera.K[:2, 2], np.array(size) / 2, atol=0.51)
    images, depths = room().render(cameras)
    again = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    assert (again - clip.images).abs().mean() < 0.012
    if clip.depth is not None:
        relative = np.abs(depths - clip.depth.numpy()) / depths
        assert np.median(relative) < 0.004
    assert np.abs(shift_between(images / 255, clip.images.permute(0, 2, 3, 1).numpy())).max() < 0.1


def shift_between(a, b):
    """(x, y) pixels by which the images b lie beside a, by least squares over what is smooth."""
    gradients = np.stack([np.gradient(a, axis=2), np.gradient(a, axis=1)], axis=-1)
    smooth = (np.abs(gradients) < 0.05).all(axis=-1) & (np.abs(b - a) < 0.1)
    return np.linalg.lstsq(gradients[smooth], (a - b)[smooth], rcond=None)[0]


def test_half_a_pixel_would_show():
    cameras = [view.camera for view in rendered()[:2]]
    moved = [Camera(camera.K + HALF_PIXEL, camera.c2w, WIDTH, HEIGHT) for camera in cameras]
    a, b = room().render(cameras)[0], room().render(moved)[0]
    np.testing.assert_allclose(shift_between(a / 255, b / 255), 0.5, atol=0.1)


def test_frames_that_are_not_there(scenes):
    with pytest.raises(InvalidRequest, match=r"room: frames \[6\] asked for, it has 0..5"):
        scenes.load(0, [0, 6])


def test_rooms_need_no_files():
    scenes = open_scenes("rooms:4-8?frames=6&width=80&height=60")
    assert len(scenes) == 4 and scenes.names[1] == "room-5" and scenes.find("room-7") == 3
    assert scenes.find("room-9") is None
    clip = scenes.load(1, [0, 3], (40, 30)).check()
    assert clip.depth is not None and torch.equal(clip.images, scenes.load(1, [0, 3], (40, 30)).images)
    frame = scenes.frames(1)[3].view()  # at the camera's own size, and close to the small picture
    small = np.array(Image.fromarray(frame.image).resize((40, 30), Image.Resampling.BOX))
    assert np.abs(small / 255 - clip.images[1].permute(1, 2, 0).numpy()).mean() < 0.02
    train, test = open_scenes("rooms:train"), open_scenes("rooms:test")
    assert train.find(test.names[0]) is None and train.names[5] == "room-5"
    with pytest.raises(InvalidRequest, match="train, test or FIRST-END"):
        open_scenes("rooms:many")


@pytest.mark.parametrize(
    ("spec", "message"),
    (
        ("reel10k:/x", "unknown kind 'reel10k', one of re10k"),
        ("re10k:/not/there", "/not/there: no such folder"),
        ("dl3dv:{}", "no scenes"),
        ("rooms:0-4?frame=3", "unknown option 'frame', one of frames, step"),
        ("rooms:0-4?frames", "option 'frames', NAME=VALUE"),
        ("rooms:3-3", "no scenes"),
    ),
)
def test_lines_that_open_nothing(tmp_path, spec, message):
    with pytest.raises(InvalidRequest, match=message):
        open_scenes(spec.format(tmp_path))


def test_names_and_limits(tmp_path):
    (tmp_path / "some.txt").write_text("room-6\nroom-4\nelsewhere\n")
    assert list(open_scenes(f"rooms:4-8?names={tmp_path}/some.txt").names) == ["room-4", "room-6"]
    rest = open_scenes(f"rooms:4-8?without={tmp_path}/some.txt&frames=3")
    assert list(rest.names) == ["room-5", "room-7"] and len(rest.frames(1)) == 3
    assert rest.load(1, [0], (16, 12)).name == "room-7"
    assert len(open_scenes("rooms:train?limit=3")) == 3
    (tmp_path / "none.txt").write_text("elsewhere\n")
    with pytest.raises(InvalidRequest, match="no scenes"):
        open_scenes(f"rooms:4-8?names={tmp_path}/none.txt")


def test_scenes_of_a_list_are_found_by_the_last_part_of_their_name(tmp_path):
    for name in ("1K/abc", "1K/def", "2K/ghi/nerfstudio"):
        datasets.write_folder(tmp_path / "data" / name, rendered()[:1])
    (tmp_path / "list.csv").write_text("hash,batch\nghi,2K\nabc,1K\n")
    assert open_scenes(f"dl3dv:{tmp_path}/data").names == ["1K/abc", "1K/def", "2K/ghi"]
    assert open_scenes(f"dl3dv:{tmp_path}/data?names={tmp_path}/list.csv").names == ["1K/abc", "2K/ghi"]
    assert open_scenes(f"dl3dv:{tmp_path}/data?without={tmp_path}/list.csv").names == ["1K/def"]


def edit_text(file, change):
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def replace_column(number, column, value):
    def change(lines):
        words = lines[number].split()
        words[column] = value
        return [*lines[:number], " ".join(words), *lines[number + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (replace_column(2, 9, "nan"), "frame 1: pose holds NaN"),
        (replace_column(2, 9, "0.5"), "frame 1: pose is not rigid"),
        (replace_column(2, 1, "0"), "frame 1: K has fx=0"),
        (replace_column(3, 1, "0.7"), "room: mixed intrinsics; .* has another K"),
        (replace_column(2, 4, "left"), "frame 1: 19 columns, 19 numbers"),
        (lambda lines: [*lines[:4], lines[4][:60]], "frame 3: .* columns, 19 numbers .* truncated"),
        (lambda lines: lines[:1], "room.txt: no frames in it"),
        (lambda lines: [lines[0], *(f"9{line}" for line in lines[1:])], r"frames/room/9\d+.jpg \(or .png\) does not"),
    ),
)
def test_bad_re10k(tmp_path, change, message):
    scenes = datasets.as_re10k(tmp_path)
    edit_text(tmp_path / "cameras/room.txt", change)
    with pytest.raises(InvalidRequest, match=message):
        scenes.load(0, ALL)


def test_bad_images(tmp_path):
    scenes = datasets.as_re10k(tmp_path)
    files = sorted((tmp_path / "frames/room").iterdir())
    files[2].write_bytes(files[2].read_bytes()[:500])
    Image.new("RGB", (20, 20)).save(files[3])
    files[4].unlink()
    scenes.load(0, [0, 1, 5])
    for number, message in ((2, "not a readable image"), (3, "20x20 pixels, 80x60 expected"), (4, "No such file")):
        with pytest.raises(InvalidRequest, match=f"{files[number].name}: .*{message}"):
            scenes.load(0, [number])


def test_bad_chunks(tmp_path):
    scene = datasets.chunk_scene("other")
    scene["images"][1] = scene["images"][1][:400]
    scene["cameras"] = scene["cameras"].clone()
    datasets.as_pixelsplat(tmp_path / "data")
    torch.save([scene], tmp_path / "data/000001.torch")
    (tmp_path / "data/index.json").unlink()
    scenes = open_scenes(f"pixelsplat:{tmp_path}/data")
    assert list(scenes.names) == ["room", "other"]
    with pytest.raises(InvalidRequest, match="000001.torch: other: frame 1: not a readable image"):
        scenes.load(1, [1])
    (tmp_path / "data/index.json").write_text(json.dumps({"lost": "000000.torch", "gone": "000009.torch"}))
    scenes = open_scenes(f"pixelsplat:{tmp_path}/data")
    for index, message in ((0, "the scene lost is not in it"), (1, "000009.torch: no such file")):
        with pytest.raises(InvalidRequest, match=message):
            scenes.frames(index)
    file = tmp_path / "data/000000.torch"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InvalidRequest, match="000000.torch: not a readable chunk"):
        scenes.frames(0)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_chunks_run_no_code(tmp_path, capsys):
    torch.save([{"key": "room", "cameras": Evil(), "images": []}], tmp_path / "0.torch")
    with pytest.raises(InvalidRequest, match="0.torch: not a readable chunk"):
        open_scenes(f"pixelsplat:{tmp_path}")
    assert "run" not in capsys.readouterr().out


def test_bad_demo(tmp_path):
    scenes = datasets.as_demo(tmp_path)
    folder = tmp_path / "room/nerfstudio/images_4"
    file = folder / "frame_00001.npz"
    for break_it, message in (
        (lambda: np.savez(file, intrinsic=np.eye(3)), "frame_00001.npz: intrinsic and pose are expected"),
        (lambda: file.write_bytes(b"PK"), "frame_00001.npz: intrinsic and pose are expected"),
        (file.unlink, "frame_00001.png has no pose"),
    ):
        break_it()
        with pytest.raises(InvalidRequest, match=message):
            scenes.frames(0)


def test_tum_poses_are_interpolated_and_gaps_are_left_out(tmp_path):
    scenes = datasets.as_tum(tmp_path)
    truth = tmp_path / "room/groundtruth.txt"
    edit_text(truth, lambda lines: [line for k, line in enumerate(lines) if k != 3])
    assert len(scenes.frames(0)) == COUNT - 1  # a gap of 0.2 s
    scenes = open_scenes(f"tum:{tmp_path}/room")
    edit_text(truth, lambda lines: [lines[0], *(shift_time(line, 0.05) for line in lines[1:])])
    frames = scenes.frames(0)
    centre = np.mean([rendered()[k].camera.center for k in (0, 1)], axis=0)
    np.testing.assert_allclose(frames[0].camera.center, centre, atol=1e-5)


@pytest.mark.parametrize("unit", ("ms", "us", "ns"))
def test_tum_with_associations_and_times_in_other_units(tmp_path, unit):
    expected = datasets.as_tum(tmp_path).frames(0)
    room, factor = tmp_path / "room", {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]

    def times(*names):
        rows = [[line.split() for line in (room / f"{name}.txt").read_text().splitlines()[1:]] for name in names]
        return [[f"{Decimal(time) * factor:f}".split(".")[0], *rest] for row in rows for time, *rest in row]

    pairs = [[*depth, *rgb] for depth, rgb in zip(times("depth"), times("rgb"), strict=True)]  # as ICL-NUIM has them
    for name, lines in (("associations", pairs), ("groundtruth", times("groundtruth"))):
        (room / f"{name}.txt").write_text("".join(" ".join(line) + "\n" for line in lines))
    (room / "rgb.txt").unlink()
    frames = open_scenes(f"tum:{tmp_path}?stamp_unit={unit}").frames(0)
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.read_image(), other.read_image())
        np.testing.assert_array_equal(frame.read_depth(), other.read_depth())
    with pytest.raises(InvalidRequest, match="seconds from 0 up to 2.31 are expected .* the option stamp_unit says"):
        open_scenes(f"tum:{tmp_path}").frames(0)


def test_tum_depth_of_another_clock(tmp_path):
    scenes = datasets.as_tum(tmp_path)
    edit_text(tmp_path / "room/depth.txt", lambda lines: [shift_time(line, 9) for line in lines[1:]])
    with pytest.raises(InvalidRequest, match="no depth image within 0.02 s of any image: the first is of"):
        scenes.frames(0)
    for name in ("depth.txt", "depth"):
        (tmp_path / "room" / name).rename(tmp_path / name)
    assert not any(frame.read_depth for frame in open_scenes(f"tum:{tmp_path}").frames(0))  # only pictures


def shift_time(line, seconds):
    time, *rest = line.split()
    return " ".join([f"{float(time) + seconds:.6f}", *rest])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    (
        ("groundtruth.txt", replace_column(2, 1, "nan"), "groundtruth.txt: a pose holds NaN"),
        ("groundtruth.txt", lambda lines: lines[:1], "groundtruth.txt: empty"),
        ("groundtruth.txt", lambda lines: [shift_time(line, 99) for line in lines[1:]], "no pose in groundtruth.txt"),
        ("groundtruth.txt", lambda lines: [line + " 1" for line in lines], "entry 0 has 9 columns, 8 are expected"),
        ("calibration.txt", lambda lines: ["# fx fy", "1 2"], "calibration.txt: 2 numbers, fx fy cx cy"),
        ("calibration.txt", lambda lines: ["wide 2 3 4"], "calibration.txt: .*'wide'; a number is expected"),
        ("groundtruth.txt", replace_column(2, 1, "left"), "groundtruth.txt: .*'left'; a number is expected"),
        ("rgb.txt", replace_column(2, 0, "noon"), "rgb.txt: .*'noon'; a number is expected"),
    ),
)
def test_bad_tum(tmp_path, file, change, message):
    scenes = datasets.as_tum(tmp_path)
    edit_text(tmp_path / "room" / file, change)
    with pytest.raises(InvalidRequest, match=message):
        scenes.frames(0)


def test_tum_cameras_are_known_by_name(tmp_path):
    scenes = datasets.as_tum(tmp_path)
    (tmp_path / "room/calibration.txt").unlink()
    with pytest.raises(InvalidRequest, match="calibration.txt does not exist .* names no freiburg1"):
        scenes.frames(0)
    (tmp_path / "room").rename(tmp_path / "rgbd_dataset_freiburg3_office")
    frames = open_scenes(f"tum:{tmp_path}").frames(0)
    np.testing.assert_allclose(frames[0].camera.K[:2, 2], (320.6, 248.1))


def test_frames_without_times_follow_their_names(tmp_path):
    datasets.as_folder(tmp_path)
    file = tmp_path / "room/nerfstudio/transforms.json"
    content = json.loads(file.read_text())
    content["frames"] = [content["frames"][k] for k in (5, 3, 1, 0, 2, 4)]
    for entry in content["frames"]:
        del entry["timestamp"]
    file.write_text(json.dumps(content))
    frames = open_scenes(f"nerfstudio:{tmp_path}").frames(0)
    assert [frame.name[-7:] for frame in frames] == [f"{k:03d}.png" for k in ALL]


def test_one_camera_of_a_rig(tmp_path):
    views = rendered()[:2]
    datasets.write_folder(tmp_path / "rig", views * 2, ["left"] * 2 + ["right"] * 2)
    assert [f.camera_name for f in open_scenes(f"nerfstudio:{tmp_path}").frames(0)] == ["left", "right"] * 2
    scenes = open_scenes(f"nerfstudio:{tmp_path}?camera=right")
    assert [f.camera_name for f in scenes.frames(0)] == ["right"] * 2
    with pytest.raises(InvalidRequest, match="no camera 'rear' in it, but left, right"):
        open_scenes(f"nerfstudio:{tmp_path}?camera=rear").frames(0)


def test_some_frames_of_a_sequence(tmp_path):
    datasets.as_folder(tmp_path)
    every, part = (open_scenes(f"nerfstudio:{tmp_path}{query}").frames(0) for query in ("", "?frames=1-3"))
    assert [frame.name for frame in part] == [frame.name for frame in every][1:3]
    with pytest.raises(InvalidRequest, match="frames=3-1: FIRST-END is expected"):
        open_scenes(f"nerfstudio:{tmp_path}?frames=3-1").frames(0)


@pytest.mark.parametrize("name", ("amazon_box", "fox", "fountain_p11", "tum_fr3_office", "kitti_drive_a"))
def test_real_sequences_in_the_released_sizes(real_data, name):
    scenes = open_scenes(f"nerfstudio:{real_data(name)}")
    for size in ((504, 504), (504, 280)):
        assert scenes.load(0, [0, 1], size).check().size == size
