# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies of `gld batch`: what is asked for, of a sequence with known poses."""

from dataclasses import replace

import numpy as np
import pytest
from builders.datasets import rendered

from gld_ros.batch.policies import open_policy
from gld_ros.batch.policies.base import STEP
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import quaternion_from_matrix, rotation_angle


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """Six frames, 0.1 m apart."""
    folder = tmp_path_factory.mktemp("data") / "room"
    return open_sequence(write_folder(folder, rendered()))


def asks(text, sequence):
    return list(open_policy(text).asks(sequence, lambda k: 10 + k))


def stamps(frames):
    return [frame.stamp for frame in frames]


def test_left_out(sequence):
    first, second = asks("left-out?views=3&sources=2", sequence)
    frames = sequence.frames
    assert stamps(first.sources) == stamps(frames[0:3:2]) and first.stamps == stamps(frames[1:2])
    assert stamps(second.sources) == stamps(frames[3:6:2]) and second.stamps == stamps(frames[4:5])
    assert np.array_equal(first.targets[0].c2w, frames[1].camera.c2w) and (first.seed, second.seed) == (10, 11)


def test_each_camera_of_a_rig_is_asked_for_alone(sequence):
    frames = [replace(f, camera_name=name) for f in sequence.frames for name in ("left", "right")]
    both = asks("left-out?views=6", replace(sequence, frames=frames))
    assert [{frame.camera_name for frame in ask.sources} for ask in both] == [{"left"}, {"right"}]


def test_offsets(sequence):
    (ask,) = asks("offsets?at=[0.5,0,0,0,0,0.2,0.1,90]", sequence)
    middle = ask.sources[1].camera
    ahead, turned = ask.targets
    assert np.allclose(ahead.c2w[:3, 3], middle.center + 0.5 * middle.forward)
    right, down, forward = middle.c2w[:3, :3].T
    assert np.allclose(turned.center, middle.center - 0.2 * right - 0.1 * down)
    assert np.allclose(turned.forward, -right) and len(set(ask.stamps)) == 2
    assert ask.stamps == [ask.sources[0].stamp, ask.sources[0].stamp + STEP]


def test_along_the_path(sequence):
    first, second = asks("path?views=2&sources=1&ahead=[0.15,0.35,9]", sequence)[:2]
    centres = np.stack([frame.camera.center for frame in sequence.frames])
    assert len(first.targets) == 2 and len(second.targets) <= 2  # the path is not 9 m long
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    share = (0.15 - steps[0]) / steps[1]
    assert np.allclose(first.targets[0].center, centres[1] + share * (centres[2] - centres[1]))
    assert abs(first.targets[0].forward[2]) < 1e-9


def test_away_is_random_and_repeatable(sequence):
    (ask,), (again,) = (asks("away?count=5&least=20&most=40&step=0.2", sequence) for _ in range(2))
    assert all(np.array_equal(a.c2w, b.c2w) for a, b in zip(ask.targets, again.targets, strict=True))
    assert len({camera.c2w.tobytes() for camera in ask.targets}) == 5
    for camera in ask.targets:
        turns = [np.degrees(rotation_angle(camera.c2w, source.camera.c2w)) for source in ask.sources]
        assert any(20 <= turn <= 40 for turn in turns)


def test_poses_of_a_file(sequence, tmp_path):
    def line(c2w, stamp):
        return " ".join(map(str, (stamp, *c2w[:3, 3], *quaternion_from_matrix(c2w[:3, :3]))))

    poses = [sequence.frames[k].camera.c2w for k in (1, 4)]
    (tmp_path / f"{sequence.name}.txt").write_text("\n".join(line(c2w, 5 + k) for k, c2w in enumerate(poses)))
    found = asks(f"poses?file={tmp_path}/{{name}}.txt&sources=2", sequence)
    made = [(stamp, camera) for ask in found for stamp, camera in zip(ask.stamps, ask.targets, strict=True)]
    assert [stamp for stamp, _ in sorted(made, key=lambda pair: pair[0])] == [5_000_000_000, 6_000_000_000]
    assert np.allclose(dict(made)[5_000_000_000].c2w, poses[0]) and all(len(ask.sources) == 2 for ask in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("around", "unknown policy 'around', one of left-out, "),
        ("away?cont=3", "unknown setting cont"),
        ("away?count=0", "count is 0"),
        ("offsets", "at"),
        ("offsets?at=[1,2]", "x, y, z and yaw"),
        ("left-out?sources=3&views=3", "sources is 3, less than the 3 views"),
    ],
)
def test_wrong_texts_are_named(text, message):
    with pytest.raises(InvalidRequest, match=message):
        open_policy(text)
