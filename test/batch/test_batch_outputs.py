# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One sequence without Ray: the formats of the views, what cannot be made, how sequences are found."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from builders.archive import write_archive
from builders.datasets import rendered
from PIL import Image

from gld_ros.batch.maker import Maker
from gld_ros.batch.sequences import find_sequences
from gld_ros.batch.settings import BatchSettings, provenance
from gld_ros.batch.workers import ray_instance
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest, ModelError


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"), folders=1)


def make(archive, out, name="room0", **changes):
    settings = BatchSettings(out=out, gpus=0.0, **changes)
    (item,) = find_sequences([str(archive / name)]).items
    return Maker(settings, provenance(settings)).make(item)


@pytest.fixture(scope="module")
def outputs(archive, tmp_path_factory):
    """The same views in every format."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("mcap", "nerfstudio", "webdataset")}
    for name, folder in folders.items():
        assert make(archive, folder, format=name, ask="left-out?views=6").views == 4
    return {name: folder / "room0" for name, folder in folders.items()}


def test_mcap_and_nerfstudio_are_sequences(outputs):
    bag, folder = (open_sequence(outputs[name] / "views") for name in ("mcap", "nerfstudio"))
    views = json.loads((outputs["mcap"] / "manifest.json").read_text())["views"]
    assert bag.metric and folder.metric and len(bag.frames) == len(folder.frames) == 4
    for a, b, entry in zip(bag.frames, folder.frames, views, strict=True):
        assert a.stamp == b.stamp == entry["stamp"]
        for frame in (a, b):
            assert np.allclose(frame.camera.c2w, entry["c2w"]) and np.allclose(frame.camera.K, entry["K"])
        assert np.array_equal(a.view().image, b.view().image)
        assert np.allclose(a.view().depth, b.view().depth, atol=6e-4, equal_nan=True)
    entries = json.loads((outputs["nerfstudio"] / "views/transforms.json").read_text())["frames"]
    for name in ("confidence", "generated"):
        pixels = np.asarray(Image.open(outputs["nerfstudio"] / "views" / entries[0][f"{name}_file_path"]))
        assert pixels.shape == (60, 80) and pixels.max() > 0


def test_shards_are_read_by_webdataset(outputs):
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(outputs["webdataset"] / "views.tar"), shardshuffle=False))
    frames = open_sequence(outputs["mcap"] / "views").frames
    assert [sample["__key__"] for sample in samples] == [f"room0_{k:06d}" for k in range(4)]
    for sample, frame in zip(samples, frames, strict=True):
        view, about = frame.view(), json.loads(sample["json"])
        assert np.array_equal(np.load(io.BytesIO(sample["depth.npy"])), view.depth, equal_nan=True)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample["image.png"]))), view.image)
        assert np.load(io.BytesIO(sample["confidence.npy"])).max() <= 1
        assert set(np.unique(Image.open(io.BytesIO(sample["generated.png"])))) <= {0, 255}
        assert np.allclose(about["c2w"], frame.camera.c2w) and about["stamp"] == frame.stamp


def test_a_sequence_that_fails_leaves_nothing(archive, tmp_path):
    made = make(archive, tmp_path, "broken")
    assert made.error.startswith("INVALID_REQUEST") and not list(tmp_path.iterdir())
    made = make(archive, tmp_path, ask="path?ahead=[1000]")
    assert "no view could be made: nothing to ask for" in made.error and not list(tmp_path.iterdir())


def test_requests_that_the_model_refuses_are_named(tmp_path):
    """The first two sources are at one place: no scale can be found there."""
    order = [replace(rendered()[k], depth=None, stamp=10**18 + n) for n, k in enumerate((0, 1, 0, 2, 3, 4))]
    write_folder(tmp_path / "room0", order)
    made = make(tmp_path, tmp_path / "out", ask="left-out?views=3")
    assert (made.error, made.views, made.refused) == (None, 1, 1)
    (refused,) = json.loads((tmp_path / "out/room0/manifest.json").read_text())["refused"]
    assert refused["reason"].startswith("SCALE_UNKNOWN") and len(refused["stamps"]) == 1


def test_a_pose_that_no_frame_sees_is_named(archive, tmp_path):
    (tmp_path / "poses.txt").write_text("1 900 0 0 0 0 0 1\n")
    made = make(archive, tmp_path / "out", ask=f"poses?file={tmp_path}/poses.txt")
    assert made.error.startswith("NO_CONTEXT") and "poses.txt: the pose at 1.000000 s" in made.error


def test_a_preset_that_the_model_does_not_have_is_named(tmp_path):
    settings = BatchSettings(out=tmp_path, gpus=0.0, preset="best")
    with pytest.raises(InvalidRequest, match="best"):
        Maker(settings, provenance(settings)).ready()


def test_a_worker_with_another_model_is_refused(archive, tmp_path):
    settings = BatchSettings(out=tmp_path, gpus=0.0)
    origin = provenance(settings) | {"model_sha256": "0"}
    with pytest.raises(ModelError, match="not what the run began with: model_sha256"):
        Maker(settings, origin).ready()


def test_an_address_without_a_cluster_is_named_at_once():
    pytest.importorskip("ray", reason="the extra batch is not installed")
    with (
        pytest.raises(InvalidRequest, match="--address localhost:1: no Ray cluster is there"),
        ray_instance("localhost:1"),
    ):
        pass


def test_sequences_are_found(archive, tmp_path):
    (tmp_path / "list.txt").write_text(f"# all\n{archive}/room*\n\n{archive}/bag\n/nowhere/bag\n")
    found = find_sequences([f"@{tmp_path}/list.txt", f"{archive}/bag"])
    assert [item.name for item in found.items] == ["room0", "bag"] and list(found.failed) == ["/nowhere/bag"]
    assert [item.name for item in find_sequences(["rooms:0-3"]).items] == ["room-0", "room-1", "room-2"]
    (tmp_path / "other/room0").mkdir(parents=True)
    (tmp_path / "other/room0/transforms.json").write_text("{}")
    names = [item.name for item in find_sequences([f"{archive}/room0", f"{tmp_path}/other/room0"]).items]
    assert names == [f"{archive.name}/room0", "other/room0"]
    with pytest.raises(InvalidRequest, match="no sequence to make views of: .*nothing"):
        find_sequences(["/nothing/*"])
