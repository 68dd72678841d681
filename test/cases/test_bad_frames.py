# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Single bad frames: an error that says how to leave them out, or left out, named and counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from builders.bags import rewrite
from builders.datasets import as_colmap, as_folder, as_tum, rendered
from rosbags.highlevel import AnyReader

from gld_ros.cli import main
from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest

OPTION = "--skip-bad-frames"


def truncated(scene: Path, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        file = sorted([*scene.glob("images/*.png"), *scene.glob("rgb/*.png")])[number]
        file.write_bytes(file.read_bytes()[:200])


def missing(scene: Path, numbers: tuple[int, ...]) -> None:
    for file in [sorted(scene.glob("images/*.png"))[number] for number in numbers]:
        file.unlink()


def without_pose(scene: Path, numbers: tuple[int, ...]) -> None:
    content = json.loads((scene / "transforms.json").read_text())
    for number in numbers:
        content["frames"][number]["transform_matrix"][0][3] = float("nan")
    (scene / "transforms.json").write_text(json.dumps(content))


def changed(scene: Path, topic: str, numbers: Iterable[int], change) -> Path:
    """A bag of the folder, some messages of a topic changed."""
    bag = scene.with_name("bag")
    rewrite(scene, bag, lambda at, number, message: change(message) if at == topic and number in numbers else None)
    return bag


def bag_without_pose(scene: Path, numbers: tuple[int, ...]) -> Path:
    def change(message):
        message.transforms[0].transform.translation.x = float("nan")

    return changed(scene, "/tf", numbers, change)


def bag_with_garbage(scene: Path, numbers: tuple[int, ...]) -> Path:
    def change(message):
        message.data = message.data[:100]

    return changed(scene, "/camera/image_raw", numbers, change)


def bag_with_truncated_message(scene: Path, numbers: tuple[int, ...]) -> Path:
    """Bytes that are no Image."""
    whole, bag, count = scene.with_name("plain"), scene.with_name("bag"), 0
    write_bag(open_sequence(scene), whole)
    with AnyReader([whole]) as reader, BagWriter(bag) as writer:
        for connection, stamp, data in reader.messages():
            if connection.topic == "/camera/image_raw":
                data = data[:20] if count in numbers else data
                count += 1
            writer.write_serialized(connection.topic, connection.msgtype, stamp, bytes(data))
    return bag


def bag_of_video(scene: Path, numbers: tuple[int, ...]) -> Path:
    def change(message):
        message.encoding = "h264"

    return changed(scene, "/camera/image_raw", numbers, change)


KINDS = {
    "truncated image": (as_folder, truncated, "not a readable image"),
    "missing image": (as_folder, missing, "does not exist"),
    "pose of NaN": (as_folder, without_pose, "pose holds NaN"),
    "truncated image of a COLMAP model": (as_colmap, truncated, "not a readable image"),
    "missing image of a COLMAP model": (as_colmap, missing, "does not exist"),
    "truncated image of a TUM recording": (as_tum, truncated, "not a readable image"),
    "pose of NaN in a bag": (as_folder, bag_without_pose, "pose holds NaN"),
    "broken message": (as_folder, bag_with_garbage, "do not fit into 100 bytes"),
    "message of too few bytes": (as_folder, bag_with_truncated_message, "the message cannot be read"),
    "message that is no picture": (as_folder, bag_of_video, "cannot decode an image of encoding 'h264'"),
}


def made(tmp_path: Path, kind: str, numbers: tuple[int, ...]) -> Path:
    build, damage, _ = KINDS[kind]
    scene = build(tmp_path).paths[0]
    return damage(scene, numbers) or scene


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_bad_frames(tmp_path, kind, caplog):
    scene = made(tmp_path, kind, (2, 5))
    with pytest.raises(InvalidRequest, match=KINDS[kind][2]) as error:
        for frame in open_sequence(scene).frames:
            frame.view()
    assert OPTION in str(error.value)
    caplog.clear()
    frames = open_sequence(scene, skip_bad_frames=True).frames
    stamps = [view.stamp for number, view in enumerate(rendered()) if number not in (2, 5)]
    if "COLMAP" not in kind:
        assert [frame.stamp for frame in frames] == stamps
    assert len([frame.view() for frame in frames]) == 4
    skipped = [record.message for record in caplog.records if record.message.startswith("skipped a frame: ")]
    assert len(skipped) == 2 and all(KINDS[kind][2] in message for message in skipped)
    assert "2 of 6 frames are bad and were skipped" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_all_frames_is_not_skipped(tmp_path, kind):
    scene = made(tmp_path, kind, tuple(range(6)))
    with pytest.raises(InvalidRequest) as error:
        open_sequence(scene, skip_bad_frames=True)
    assert OPTION not in str(error.value)


def test_frames_without_a_pose_are_left_out_of_bags_in_any_case(tmp_path, caplog):
    def change(message):
        message.header.stamp.sec += 100

    bag = changed(as_folder(tmp_path).paths[0], "/camera/image_raw", (5,), change)
    assert len(open_sequence(bag).frames) == 5
    assert "1 of 6 images: no pose" in caplog.text


def test_the_commands(tmp_path, capsys, caplog):
    scene = made(tmp_path, "truncated image", (2,))
    commands = {
        "synthesize": ["synthesize", str(scene), "--sources", "0,4", "--targets", "2", "--out"],
        "to-bag": ["data", "to-bag", str(scene)],
        "from-bag": ["data", "from-bag", str(scene)],
    }
    for name, command in commands.items():
        out = tmp_path / name
        assert main([*command, str(out)]) == 1
        assert OPTION in capsys.readouterr().err and not out.exists()
        assert list(tmp_path.glob(f".{name}*")) == []
        assert main([*command, str(out), OPTION]) == 0
        assert out.exists() and "1 of 6 frames are bad and were skipped" in caplog.text
        caplog.clear()
    assert len(open_sequence(tmp_path / "to-bag").frames) == 5
    np.testing.assert_array_equal(open_sequence(tmp_path / "to-bag").frames[2].read_image(), rendered()[3].image)


def test_lines_of_data(tmp_path):
    scene = made(tmp_path, "pose of NaN", (1,))
    assert main(["data", "check", f"nerfstudio:{scene}"]) == 1
    assert main(["data", "check", f"nerfstudio:{scene}?skip_bad_frames=true"]) == 0
    assert len(open_scenes(f"nerfstudio:{scene}?skip_bad_frames=true").frames(0)) == 5
    with pytest.raises(InvalidRequest, match="skip_bad_frames is 'maybe', true or false is expected"):
        open_scenes(f"nerfstudio:{scene}?skip_bad_frames=maybe")
    with pytest.raises(InvalidRequest, match="unknown option 'skip_bad_frames'"):
        open_scenes("rooms:test?skip_bad_frames=true")
