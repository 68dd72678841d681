# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Masks and transparent pixels: excluded pixels are no part of the scene, from the file to the figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.datasets import as_colmap, as_tum, rendered
from builders.models import tiny
from PIL import Image

from gld_ros.data.bag_writer import write_bag
from gld_ros.data.formats.shards import write_shards
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.results import compare
from gld_ros.evaluation.scenes import Choice, scene_of_clip
from gld_ros.evaluation.scores import picture_figures
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Loading, fingerprint
from gld_ros.networks.posed_depth import comparable, plane_costs
from gld_ros.pipeline.failed_request import FailedRequest, load, save
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView

RED = np.array([255, 0, 0], np.uint8)
PERSON = np.ones((60, 80), bool)
PERSON[20:45, 30:48] = False


def with_person(view: SourceView, colour=RED, mask: np.ndarray | None = PERSON) -> SourceView:
    return replace(view, image=np.where(PERSON[..., None], view.image, colour), mask=mask)


@pytest.fixture
def people(tmp_path):
    """A folder of the room with a person in each image, and masks of it."""
    return write_folder(tmp_path / "people", [with_person(view) for view in rendered()], depth_unit=0.0002)


def change(folder, **keys):
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    for entry in content["frames"]:
        entry.update(keys)
    file.write_text(json.dumps(content))
    return open_sequence(folder)


def test_masks_of_a_folder_are_read_and_depth_is_unknown_there(people):
    for frame, view in zip(open_sequence(people).frames, rendered(), strict=True):
        read = frame.view()
        np.testing.assert_array_equal(read.mask, PERSON)
        np.testing.assert_allclose(read.depth, np.where(PERSON, view.depth, np.nan), atol=1e-3)


@pytest.mark.parametrize("kind", ("of another size", "RGB", "no .png", "in masks_2"))
def test_masks_as_tools_write_them(people, kind):
    mask = Image.fromarray(np.where(PERSON, 255, 0).astype(np.uint8))
    if kind == "of another size":
        mask.resize((160, 120), Image.Resampling.NEAREST).save(people / "masks/000.png")
    elif kind == "RGB":
        mask.convert("RGB").save(people / "masks/000.png")
    elif kind == "no .png":
        change(people, mask_path="masks\\000")
    else:
        (people / "masks").rename(people / "masks_2")
    np.testing.assert_array_equal(open_sequence(people).frames[0].view().mask, PERSON)


def test_wrong_masks_are_named(people):
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(people / "masks/000.png")
    with pytest.raises(InvalidRequest, match="masks/000.png: excludes every pixel; 0 is what a mask excludes"):
        open_sequence(people).frames[0].view()
    Image.fromarray(np.ones((60, 60), np.uint8)).save(people / "masks/000.png")
    with pytest.raises(InvalidRequest, match="masks/000.png: 60x60 pixels, 80x60 expected"):
        open_sequence(people).frames[0].view()
    with pytest.raises(InvalidRequest, match="frame 0: mask_path: .*none.png does not exist"):
        change(people, mask_path="masks/none.png")
    with pytest.raises(InvalidRequest, match="cannot be read: dynamic_mask"):
        change(people, mask_path=None, dynamic_mask="masks/000.png")


@pytest.mark.parametrize("mode", ("RGBA", "LA", "P"))
def test_transparent_pixels_are_excluded(tmp_path, mode):
    folder = write_folder(tmp_path / "alpha", rendered())
    for k, view in enumerate(rendered()):
        image = Image.fromarray(view.image)
        if mode == "P":
            grey = np.where(PERSON, np.minimum(view.image[..., 0], 254), 255).astype(np.uint8)
            image = Image.fromarray(grey)
            image.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
            image.save(folder / f"images/{k:03d}.png", transparency=255)
            continue
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.where(PERSON, 255, 0).astype(np.uint8)))
        image.save(folder / f"images/{k:03d}.png")
    view = open_sequence(folder).frames[2].view()
    np.testing.assert_array_equal(view.mask, PERSON)
    assert view.image.shape == (60, 80, 3) and np.isnan(view.depth[~PERSON]).all()


def test_partly_transparent_pixels_are_used_with_a_warning(tmp_path, caplog):
    folder = write_folder(tmp_path / "glass", rendered())
    image = Image.fromarray(rendered()[0].image)
    image.putalpha(128)
    image.save(folder / "images/000.png")
    frames = open_sequence(folder).frames
    assert frames[0].view().mask is None and frames[1].view().mask is None
    assert [record.message.split(":")[0] for record in caplog.records] == [f"{folder}/images"]
    room = as_tum(tmp_path / "tum").paths[0]  # a format without masks
    image.putalpha(0)
    image.save(sorted(room.glob("rgb/*.png"))[0])
    open_sequence(room).frames[0].view()
    assert caplog.records[-1].message.startswith(f"{room}/rgb: transparent pixels of its images are read as")


def test_a_mask_is_undistorted_as_its_image(people):
    Image.fromarray(np.where(PERSON[..., None], 100, RED).astype(np.uint8)).save(people / "images/000.png")
    view = change(people, camera_model="OPENCV", k1=0.15, k2=-0.05).frames[0].view()
    assert 0.01 < 1 - view.mask.mean() < 0.3 and (view.mask != PERSON).any()
    assert (view.image[view.mask] == 100).all()  # nothing of the person is blended into them
    assert (view.image[~view.mask] == RED).all(axis=-1).mean() > 0.7


def test_masks_beside_a_colmap_model(tmp_path):
    scene = as_colmap(tmp_path).paths[0]
    (scene / "masks").mkdir()
    Image.fromarray(PERSON).save(scene / "masks/3.png.png")
    masks = [frame.view().mask for frame in open_sequence(scene).frames]
    np.testing.assert_array_equal(masks[3], PERSON)
    assert [mask is None for mask in masks] == [True, True, True, False, True, True]


def test_masks_of_shards_clips_and_scenes(people, tmp_path):
    write_shards(open_scenes(f"nerfstudio:{people}"), tmp_path / "shards", quality=None)
    scenes = open_scenes(f"shards:{tmp_path / 'shards'}")
    clip = scenes.load(0, [0, 1, 2]).check()
    assert (clip.mask.numpy() == PERSON).all()
    scene = scene_of_clip(clip, Choice([0, 2], [1]), "test")
    for view in (*scene.sources, *scene.targets):
        np.testing.assert_array_equal(view.mask, PERSON)
    small = scenes.load(0, [0, 1, 2], (40, 30)).mask.numpy()
    assert not small[:, 10:22, 15:24].any() and small.mean() > PERSON.mean() - 0.05


def test_bags_have_no_masks(people, tmp_path, caplog):
    write_bag(open_sequence(people), tmp_path / "bag")
    assert "6 of 6 images have masks; image messages have none" in caplog.text
    view = open_sequence(tmp_path / "bag").frames[0].view()
    assert view.mask is None and np.isnan(view.depth[~PERSON]).all() and np.isfinite(view.depth[PERSON]).mean() > 0.9


@pytest.fixture(scope="module")
def mini():
    return GLDPipeline.from_pretrained("mini", device="cpu")


def answer(pipe, sources, target):
    (view,) = pipe(sources, [target], steps=1, strict_scale=False)
    return view


@pytest.mark.parametrize("depth", (True, False))
@pytest.mark.parametrize("model", ("mini", "da3", "vggt"))
def test_what_a_mask_hides_changes_nothing(mini, model, depth):
    """Any colour and depth there gives the same view bit for bit; without the mask it does change the view."""
    pipe = mini if model == "mini" else GLDPipeline(GLD(tiny(model), Loading()))
    given = [view if depth else replace(view, depth=None) for view in (rendered()[0], rendered()[4])]
    target = rendered()[2].camera
    wall = [replace(view, depth=None if not depth else np.where(PERSON, view.depth, 0.3)) for view in given]
    made = answer(pipe, [with_person(view) for view in given], target)
    other = answer(pipe, [with_person(view, 255 - RED) for view in wall], target)
    for name in ("image", "depth", "confidence", "generated"):
        np.testing.assert_array_equal(getattr(made, name), getattr(other, name))
    open_ = answer(pipe, [with_person(view, mask=None) for view in given], target)
    assert (open_.image != made.image).any()


def test_what_a_mask_hides_matches_nothing():
    features = torch.randn(2, 8, 15, 20)
    usable = torch.from_numpy(np.stack([PERSON, np.ones_like(PERSON)]))[None]
    unit = comparable(features, (1, 2), usable)
    assert not unit[0, 0, :, 6:11, 8:12].any() and torch.allclose(unit[0, 0, :, 0].norm(dim=0), torch.ones(20))
    K = torch.from_numpy(rendered()[0].camera.K).float().expand(1, 2, 3, 3)
    depths = torch.full((1, 2, 1, 1, 1), 1e4)  # nearly the same pixel of the other view
    cost = plane_costs(unit, K, torch.eye(4).expand(1, 2, 4, 4), depths, PERSON.shape)
    assert not cost[0, 1, 0, 7:10, 9:11].any() and cost[0, 1, 0, 1].abs().min() > 0


@pytest.mark.parametrize("model", ("mini", "da3"))
def test_what_a_mask_hides_is_not_observed(mini, model):
    """One source and the same camera again: what is observed is what the mask leaves."""
    source = with_person(rendered()[3])
    view = answer(mini if model == "mini" else GLDPipeline(GLD(tiny(model), Loading())), [source], source.camera)
    assert view.generated[~PERSON].all() and not view.generated.all()
    assert np.isnan(source.measured[~PERSON]).all()
    if model == "mini":
        assert view.generated[PERSON].mean() < 0.3 and np.isfinite(view.depth).all()
        assert (np.abs(view.image[view.generated].astype(int) - RED).sum(axis=-1) > 60).all()
        (observed,) = mini.observed_depth([source])
        assert np.isnan(observed.depth[~PERSON]).all() and np.isfinite(observed.depth[PERSON]).all()


def test_a_wrong_mask_of_a_request_is_refused(mini):
    source = rendered()[0]
    for mask, message in (
        (np.ones((3, 3), bool), r"source 0: mask is bool \(3, 3\), expected bool \(60, 80\)"),
        (PERSON.astype(np.uint8), "source 0: mask is uint8"),
        (np.zeros_like(PERSON), "source 0: its mask excludes every pixel"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            mini([replace(source, mask=mask)], [source.camera])


def test_the_mask_is_in_the_fingerprint_and_in_a_failed_request(tmp_path):
    source = with_person(rendered()[0])
    assert fingerprint([source]) != fingerprint([replace(source, mask=None)])
    assert fingerprint([source]) != fingerprint([replace(source, mask=~PERSON)])
    file = save(tmp_path, FailedRequest([source, rendered()[1]], [source.camera], {}, "test"), 1)
    first, second = load(file).sources
    np.testing.assert_array_equal(first.mask, PERSON)
    assert second.mask is None and second.depth is not None


def test_masked_truth_is_not_scored():
    real, perfect = with_person(rendered()[0]), rendered()[0]
    generated = np.zeros((60, 80), bool)
    generated[:, 40:] = True
    figures = compare(perfect.image, perfect.depth, generated, real, perfect.image)
    assert min(figures[name] for name in figures if "psnr" in name) > 100
    everywhere = compare(perfect.image, perfect.depth, generated, replace(real, mask=None), perfect.image)
    assert everywhere["psnr_db_unobserved"] < 20
    regions = {"all": real.mask, "unobserved": generated & real.mask}
    scores = picture_figures(Picture(perfect.image, perfect.depth), real, regions, None)
    assert scores["all"]["ssim"] > 0.999 and scores["unobserved"]["sharpness"] == pytest.approx(1)


def test_training_says_that_it_uses_no_masks(people, caplog):
    from gld_ros.data.clips import collate

    clip = open_scenes(f"nerfstudio:{people}").load(0, [0, 1])
    assert torch.isnan(clip.depth[:, ~PERSON]).all()
    collate([clip])
    assert "masks are not used in training" in caplog.text
