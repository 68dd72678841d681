# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures: repeatable, shared out, resumable; bad scenes are replaced and named. Shards, pose checks, gld data."""

from __future__ import annotations

import itertools
import json
import pickle
import tarfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import datasets
from builders.datasets import COUNT
from torch.utils.data import DataLoader

from gld_ros.cli import main
from gld_ros.data.checks import OPENGL, agreement, check_poses, check_scenes
from gld_ros.data.clips import collate
from gld_ros.data.formats.shards import write_shards
from gld_ros.data.mixture import Mixture, Part, open_mixture
from gld_ros.data.sampling import ViewSampling
from gld_ros.data.scenes import Scenes, Skipped, open_scenes
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.training.data import NumberedBatches

SAMPLING = ViewSampling(views=3, sources=(1, 2), max_interval=2)
SIZES = ((24, 18), (16, 16))


def parts(*weights):
    specs = ("rooms:0-40?frames=8", "rooms:100-140?frames=8")
    return [Part(open_scenes(spec), weight, SAMPLING) for spec, weight in zip(specs, weights, strict=False)]


def same(a, b):
    return a.name == b.name and a.sources == b.sources and torch.equal(a.images, b.images) and torch.equal(a.c2w, b.c2w)


def take(mixed, count):
    return [mixed.clip(number) for number in range(count)]


def test_the_same_seed_gives_the_same_clips_and_others_others():
    a, b = take(Mixture(parts(1, 1), SIZES, seed=3), 4), take(Mixture(parts(1, 1), SIZES, seed=3), 4)
    assert all(map(same, a, b)) and [clip.check().size in SIZES for clip in a] == [True] * 4
    assert [c.name for c in take(Mixture(parts(1, 1), SIZES, seed=4), 4)] != [clip.name for clip in a]
    assert len({clip.name for clip in a}) > 1


def test_batches_are_the_same_for_any_number_of_ranks_and_workers():
    """The same global batches; a run that resumes at a batch sees what one without a stop sees."""
    alone = Mixture(parts(1, 1), SIZES, batch=4)
    alone.clip(0)
    rank = pickle.loads(pickle.dumps(Mixture(parts(1, 1), SIZES, batch=2, world=2)))
    for step in range(3):
        whole, halves = alone.batch_at(step), [rank.batch_at(2 * step + k) for k in (0, 1)]
        assert whole.names == halves[0].names + halves[1].names
        assert torch.equal(whole.images, torch.cat([half.images for half in halves]))
        assert whole.sources == halves[0].sources == halves[1].sources in (1, 2)
    source = NumberedBatches(rank.batch_at, 1, 2)
    shared = DataLoader(source, batch_size=None, num_workers=2, multiprocessing_context="fork")
    batches = [rank.batch_at(number) for number in (1, 3, 5, 7)]
    for a, b in zip(batches, shared, strict=False):
        assert a.names == b.names and torch.equal(a.images, b.images) and a.sources == b.sources
    assert {batch.images.shape[-2:] for batch in batches} == {(18, 24), (16, 16)}


def test_weights_are_kept():
    drawn = Counter(clip.name >= "room-100" for clip in take(Tiny(parts(3, 1)), 400))
    assert 0.68 < drawn[False] / 400 < 0.82
    assert all(clip.name < "room-100" for clip in take(Tiny(parts(1, 0)), 20))


class Tiny(Mixture):
    """Names only: nothing is rendered."""

    def __init__(self, sources):
        super().__init__([replace(part, scenes=Named(part.scenes)) for part in sources], ((2, 2),))


class Named(Scenes):
    one_camera = True

    def __init__(self, scenes):
        super().__init__([f"room-{name.split('-')[1]:0>3}" for name in scenes.names], "named")
        self.clip = scenes.load(0, [0, 1, 2], (2, 2))
        self.cameras = scenes.frames(0)

    def read(self, index):
        return self.cameras

    def load(self, index, views, size=None):
        return replace(self.clip, name=self.names[index])


class Broken(Scenes):
    """Every scene but those of `good` numbers is bad."""

    def __init__(self, scenes, good):
        super().__init__(scenes.names, "broken")
        self.scenes, self.good = scenes, good

    def read(self, index):
        if index not in self.good:
            raise InvalidRequest(f"{self.names[index]}: truncated")
        return self.scenes.frames(index)

    def load(self, index, views, size=None):
        self.frames(index)
        return self.scenes.load(index, views, size)


def test_bad_scenes_are_replaced_and_named(tmp_path):
    scenes = Broken(open_scenes("rooms:0-6?frames=8"), {1, 4})
    mixed = Mixture([Part(scenes, 1, SAMPLING)], SIZES, skipped=Skipped(tmp_path / "skipped.jsonl"))
    source = NumberedBatches(mixed.batch_at, 0, 1)
    loader = DataLoader(source, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert {batch.names[0] for batch in itertools.islice(loader, 10)} == {"room-1", "room-4"}
    assert mixed.skipped.scenes.items() >= {"room-0": "room-0: truncated"}.items() and len(mixed.skipped) == 4
    with pytest.raises(InvalidRequest, match="50 bad scenes in a row; the last: room-.: truncated"):
        Mixture([Part(Broken(scenes, set()), 1, SAMPLING)], SIZES).clip(0)


def test_pose_checks():
    clip = open_scenes("rooms:1-2?frames=8").load(0, [0, 3, 6], (240, 180))
    shares = agreement(clip)
    assert shares["c2w, OpenCV axes"] > 0.9 and max(list(shares.values())[1:]) < 0.4
    check_poses(clip)
    for convert, name in (
        (torch.linalg.inv, "w2c, OpenCV axes"),
        (lambda pose: pose @ torch.from_numpy(OPENGL).float(), "c2w, OpenGL axes"),
        (lambda pose: torch.linalg.inv(pose @ torch.from_numpy(OPENGL).float()), "w2c, OpenGL axes"),
    ):
        with pytest.raises(InvalidRequest, match=f"the poses are not c2w, OpenCV axes: .* {name} explains"):
            check_poses(replace(clip, c2w=convert(clip.c2w)))
    assert agreement(replace(clip, images=torch.rand_like(clip.images))) == {}
    assert agreement(replace(clip, c2w=clip.c2w[:1].repeat(3, 1, 1))) == {}


@pytest.mark.parametrize(("name", "passes"), (("amazon_box", True), ("fox", True), ("fountain_p11", True)))
def test_pose_checks_on_real_images(real_data, name, passes):
    clip = open_scenes(f"nerfstudio:{real_data(name)}").load(0, [0, 1, 2], (504, 378))
    check_poses(clip)
    with pytest.raises(InvalidRequest, match="w2c, OpenCV axes explains"):
        check_poses(replace(clip, c2w=torch.linalg.inv(clip.c2w.double()).float()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        ({"parts": []}, r"weights \[\]"),
        ({"parts": parts(0)}, "at least one above 0"),
        ({"parts": parts(1, -1)}, "none below"),
        ({"world": 0}, "0 ranks"),
        ({"sizes": ()}, "0 sizes"),
        ({"parts": [parts(1)[0], Part(open_scenes("rooms:train"), 1)]}, "parts of \\[3, 8\\] views"),
    ),
)
def test_mixtures_that_make_no_sense(arguments, message):
    with pytest.raises(InvalidRequest, match=message):
        Mixture(**{"parts": parts(1), **arguments})


def test_mixture_of_lines():
    lines = {"rooms:0-40?frames=8&max_interval=2": 3, "rooms:100-140?frames=8&motion=[0.1,0.2]": 1}
    mixed = open_mixture(lines, views=3, sources=(1, 2), sizes=((24, 18),), batch=2, seed=1)
    assert [part.weight for part in mixed.parts] == [3, 1] and mixed.parts[1].sampling.motion == (0.1, 0.2)
    assert mixed.parts[0].sampling == SAMPLING and len(mixed.parts[0].scenes.frames(0)) == 8
    assert collate(take(mixed, 2)).images.shape == (2, 3, 3, 18, 24)
    with pytest.raises(InvalidRequest, match="order 'none' of views"):
        open_mixture({"rooms:0-40?order=none": 1})
    with pytest.raises(InvalidRequest, match="unknown option 'interval'"):
        open_mixture({"rooms:0-40?interval=3": 1})


def test_shards_follow_the_layout_of_webdataset(tmp_path):
    datasets.as_shards(tmp_path)
    files = sorted(file.name for file in (tmp_path / "shards").iterdir())
    assert files == ["index.json", "shard-000000.tar"]
    with tarfile.open(tmp_path / "shards/shard-000000.tar") as tar:
        names = tar.getnames()
        content = json.load(tar.extractfile("00000000.json"))
    expected = [f"00000000.{k:04d}.png" for k in range(COUNT)] + [f"00000000.depth.{k:04d}.png" for k in range(COUNT)]
    assert sorted(names) == sorted([*expected, "00000000.json"]) and content["name"] == "room"


def test_many_shards_bad_scenes_and_another_size(tmp_path):
    scenes = Broken(open_scenes("rooms:0-5?frames=3&width=64&height=48"), {0, 2, 3})
    skipped = write_shards(scenes, tmp_path / "out", size=(32, 24), quality=90, shard_bytes=10_000)
    assert list(skipped.scenes) == ["room-1", "room-4"]
    assert len(list((tmp_path / "out").glob("*.tar"))) > 1 and not list((tmp_path / "out").glob("*.part"))
    shards = open_scenes(f"shards:{tmp_path}/out")
    assert shards.names == ["room-0", "room-2", "room-3"]
    clip, expected = shards.load(1, [2, 0]).check(), scenes.load(2, [2, 0], (32, 24))
    assert clip.size == (32, 24) and (clip.images - expected.images).abs().mean() < 0.03
    np.testing.assert_allclose(clip.K, expected.K, atol=1e-4)
    assert (clip.depth / expected.depth - 1).abs().median() < 0.03  # picked, not blended
    with pytest.raises(InvalidRequest, match="holds shards already"):
        write_shards(scenes, tmp_path / "out")
    with pytest.raises(InvalidRequest, match="no scene could be read. skipped 5 scenes:"):
        write_shards(Broken(scenes, set()), tmp_path / "none")


def test_broken_shards(tmp_path):
    scenes = datasets.as_shards(tmp_path)
    tar = tmp_path / "shards/shard-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:5000])
    with pytest.raises(InvalidRequest, match="shard-000000.tar: ends before byte .*; the shard is truncated"):
        scenes.frames(0)
    tar.write_bytes(whole[:5000] + bytes(len(whole) - 5000))
    with pytest.raises(InvalidRequest, match="its description cannot be read"):
        scenes.frames(0)
    (tmp_path / "shards/index.json").write_text('{"scenes"')
    with pytest.raises(InvalidRequest, match="not an index of shards"):
        open_scenes(f"shards:{tmp_path}/shards")
    (tmp_path / "shards/index.json").unlink()
    with pytest.raises(InvalidRequest, match="writes it last: was it interrupted"):
        open_scenes(f"shards:{tmp_path}/shards")


def test_data_shard_command(tmp_path, capsys):
    datasets.as_folder(tmp_path / "folders")
    assert main(["data", "shard", f"dl3dv:{tmp_path}/folders", f"{tmp_path}/out", "--quality", "0"]) == 0
    assert "1 scenes; skipped 0 scenes" in capsys.readouterr().out
    clip = open_scenes(f"shards:{tmp_path}/out").load(0, [0])
    assert torch.equal(clip.images, open_scenes(f"dl3dv:{tmp_path}/folders").load(0, [0]).images)


def test_data_check_command(tmp_path, capsys):
    datasets.as_folder(tmp_path / "folders")
    for name in ("bad", "blind"):
        datasets.write_folder(tmp_path / f"folders/{name}", datasets.rendered())
    image = tmp_path / "folders/bad/images/000.png"
    image.write_bytes(image.read_bytes()[:200])
    file = tmp_path / "folders/blind/transforms.json"
    content = json.loads(file.read_text())
    content["frames"][2]["transform_matrix"][0][3] = float("nan")
    file.write_text(json.dumps(content))
    assert main(["data", "check", f"dl3dv:{tmp_path}/folders", "--bad", f"{tmp_path}/bad.txt"]) == 1
    output = capsys.readouterr().out
    assert f"1 good scenes, {COUNT} frames of 80x60; skipped 2 scenes:" in output
    assert "bad: " in output and "000.png: not a readable image" in output and "frame 2: pose holds NaN" in output
    assert main(["data", "check", f"dl3dv:{tmp_path}/folders?without={tmp_path}/bad.txt"]) == 0
    good = f"dl3dv:{tmp_path}/folders?names={tmp_path}/good.txt"
    (tmp_path / "good.txt").write_text("room\n")
    assert main(["data", "check", good, "--bad", f"{tmp_path}/none.txt"]) == 0
    assert main(["data", "check", f"{good}&without={tmp_path}/none.txt"]) == 0


def test_checks_find_poses_of_another_convention():
    scenes = Inverted(open_scenes("rooms:1-2?frames=5&width=200&height=150"))
    found, bad = check_scenes(scenes)
    assert found.scenes == 0 and "w2c, OpenCV axes explains" in bad.scenes["room-1"]
    assert check_scenes(scenes.scenes)[0].scenes == 1


class Inverted(Scenes):
    def __init__(self, scenes):
        super().__init__(scenes.names, "inverted")
        self.scenes = scenes

    def read(self, index):
        frames = self.scenes.frames(index)
        return [replace(frame, camera=frame.camera.moved(frame.camera.w2c)) for frame in frames]


def test_a_bag_becomes_training_data(tmp_path, capsys):
    datasets.as_bag(tmp_path)
    out = tmp_path / "sequence of the robot"
    assert main(["data", "from-bag", f"{tmp_path}/bags/room", str(out), "--translation", "0.15"]) == 0
    assert f"key frames of {COUNT} posed images" in capsys.readouterr().out
    sequence = open_sequence(out)
    views = datasets.rendered()
    places = [frame.camera.center for frame in sequence.frames]
    assert sequence.metric and sequence.has_depth and 2 <= len(places) < COUNT
    kept = [
        k for k, view in enumerate(views) if np.linalg.norm(np.array(places) - view.camera.center, axis=1).min() < 1e-6
    ]
    assert kept[0] == 0 and len(kept) == len(places)
    frame = sequence.frames[1].view()
    np.testing.assert_array_equal(frame.image, views[kept[1]].image)
    np.testing.assert_allclose(frame.camera.c2w, views[kept[1]].camera.c2w, atol=1e-6)
    assert open_scenes(f"nerfstudio:{out}").load(0, [0, 1], (32, 24)).check().name == out.name


def test_key_frames_by_turning(tmp_path):
    datasets.as_bag(tmp_path)
    far = open_scenes(f"rosbag2:{tmp_path}/bags?translation=100&rotation=360").frames(0)
    assert len(far) == 1
    everything = open_scenes(f"rosbag2:{tmp_path}/bags/room?translation=0").frames(0)
    assert len(everything) == COUNT
