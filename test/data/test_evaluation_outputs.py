# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hold-out plans, comparisons, sheets and the `gld data` commands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gld_ros.cli import main
from gld_ros.data.sequence import open_sequence
from gld_ros.evaluation.results import Result, compare, contact_sheet, hold_out, summary
from gld_ros.geometry.cameras import nearest
from gld_ros.reports.pictures import (
    GENERATED,
    MARGIN,
    OUTLINE,
    SPREAD_COLOURS,
    UNKNOWN,
    _draw_points,
    cloud_picture,
    colour_depth,
    colour_spread,
    outlined,
)
from gld_ros.scene.ply import Points


@pytest.mark.parametrize("count", (3, 4, 5, 8, 25, 51, 1000))
def test_every_target_lies_between_shown_instants(count):
    plan = hold_out(count, 8)
    assert sorted(plan.shown + plan.left_out) == list(range(count))
    assert 1 <= len(plan.targets) <= 8 and set(plan.targets) <= set(plan.left_out)
    assert plan.shown[0] == 0 and plan.shown[-1] == count - 1 and len(plan.shown) <= 60
    assert plan.targets[0] < count / 2 or count < 5


def test_two_instants_are_too_few():
    with pytest.raises(ValueError, match="at least 3"):
        hold_out(2, 8)


def test_comparison_by_region(views):
    real = views[0]
    image = real.image.astype(int)
    generated = np.zeros(real.depth.shape, bool)
    generated[:, :10] = True
    image[generated] += np.where(image[generated] > 127, -10, 10)
    result = compare(image.astype(np.uint8), real.depth * 1.1, generated, real, real.image)
    assert result["psnr_db_observed"] > 100 and result["copy_nearest_psnr_db"] > 100
    np.testing.assert_allclose(result["psnr_db_unobserved"], 20 * np.log10(255 / 10), atol=1e-6)
    np.testing.assert_allclose(result["depth_abs_rel"], 0.1, rtol=1e-5)
    mean = summary([result, result])
    assert mean["psnr_db"] == result["psnr_db"] and mean["generated_share"] == generated.mean()


def test_without_depth_or_generated_pixels_there_is_no_figure(views):
    real = type(views[0])(views[0].image, views[0].camera)
    result = compare(real.image, views[0].depth, np.zeros(real.image.shape[:2], bool), real, real.image)
    assert result["depth_abs_rel"] is None and result["psnr_db_unobserved"] is None
    assert summary([result])["depth_abs_rel"] is None


def test_a_nearest_source_of_another_size_is_no_baseline(views):
    real = views[0]
    result = compare(real.image, real.depth, np.zeros(real.depth.shape, bool), real, real.image[:-1])
    assert result["copy_nearest_psnr_db"] is None and result["psnr_db"] > 100


def test_nearest_in_pose(views):
    cameras = [view.camera for view in views]
    assert nearest(views[2].camera, cameras) == 2


def test_depth_colours_run_from_bright_to_dark():
    depth = np.array([[1.0, 2.0, 4.0, np.nan, 0.0]], np.float32)
    colours = colour_depth(depth, 1.0, 4.0)[0]
    brightness = colours[:3].astype(int).sum(axis=1)
    assert brightness[0] > brightness[1] > brightness[2]
    np.testing.assert_array_equal(colours[3:], [UNKNOWN, UNKNOWN])


def result(views, others=()):
    """The first of `views` as it is, with nothing generated, made of the first two."""
    real, nothing = views[0], np.zeros(views[0].depth.shape, bool)
    arrays = real.camera, real.image, real.depth, np.ones(nothing.shape), nothing
    return Result("view", *arrays, replace(real, depth=None), list(views[:2]), real.image, others)


def test_sheet_has_a_row_a_view_and_takes_missing_depth(views):
    blind = result(views)
    one, two = contact_sheet([blind]), contact_sheet([replace(blind, real=views[0]), blind])
    assert one.width == two.width and two.height > one.height


def test_sheet_shows_other_seeds_and_their_spread(views):
    plain = result(views)
    apart = views[0].image, views[0].depth * np.exp(0.2 * np.sqrt(2)).astype(np.float32)
    wide = contact_sheet([result(views, [apart, apart]), plain])
    assert wide.width == contact_sheet([plain]).width * 9 // 6 - (MARGIN * 9 // 6 - MARGIN)  # three columns more
    brightest = (np.asarray(wide) == SPREAD_COLOURS[-1]).all(axis=2)
    assert brightest.sum() > 1000  # the cell of the first row: it is the most there is


def test_colours_of_spread_run_from_dark_to_bright():
    colours = colour_spread(np.array([[0.0, 0.1, 0.2, 9.0, np.nan]]), 0.2)[0]
    brightness = colours.astype(int).sum(axis=1)
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]
    np.testing.assert_array_equal(colours[4], UNKNOWN)


def test_the_outline_follows_the_region_and_leaves_specks_out():
    region = np.zeros((120, 160), bool)
    region[:, 100:] = True
    specks = region.copy()
    specks[20:22, 20:22] = True
    image = np.full((120, 160, 3), 7, np.uint8)
    line = (outlined(image, specks) == OUTLINE).all(axis=2)
    assert line[:, 100].all() and line[:, -1].all() and line[0, 100:].all()
    assert not line[:, :100].any() and not line[3:-3, 103:-3].any()
    assert (outlined(image, region)[~line] == 7).all() and (image == 7).all()


def test_a_view_counts_for_what_it_has_of_a_region(views):
    real = views[0]
    few = np.zeros(real.depth.shape, bool)
    few.flat[np.flatnonzero(np.isfinite(real.depth))[0]] = True
    results = [
        compare(real.image, (real.depth * factor).astype(np.float32), generated, real, real.image)
        for factor, generated in ((2.0, few), (1.1, ~few))
    ]
    mean = summary(results)
    pixels = few.size
    np.testing.assert_allclose(mean["depth_abs_rel_unobserved"], (1.0 + 0.1 * (pixels - 1)) / pixels, rtol=1e-4)
    np.testing.assert_allclose(mean["depth_abs_rel_observed"], (0.1 + 1.0 * (pixels - 1)) / pixels, rtol=1e-4)
    np.testing.assert_allclose(mean["depth_abs_rel"], 0.55, rtol=1e-4)


def test_near_points_are_drawn_over_far_ones():
    xyz, rgb = np.array([[0, 0, 1.0], [0, 0, 2.0], [0, 0, -1.0]]), np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]])
    for order in ((0, 1, 2), (2, 1, 0)):
        pixels = _draw_points(xyz[list(order)], rgb[list(order)], np.eye(4), 20, 2)
        np.testing.assert_array_equal(pixels[10:12, 10:12], np.broadcast_to((200, 0, 0), (2, 2, 3)))
        assert (pixels == 255).all(axis=2).sum() == 20 * 20 - 4


def test_cloud_picture_shows_points_and_cameras(views):
    camera = views[0].camera
    spread = np.random.default_rng(0).normal(size=(500, 3)) * 0.5
    points = Points(
        (camera.center + camera.forward + spread).astype(np.float32),
        np.full((500, 3), 30, np.uint8),
        np.ones(500, np.float32),
        np.arange(500) < 100,
    )
    picture = np.asarray(cloud_picture(points, [camera]))
    assert (picture == 30).all(axis=2).sum() > 100  # observed as they are
    assert (picture == 30 // 2 + GENERATED // 2).all(axis=2).sum() > 20  # generated tinted
    assert (picture == (220, 0, 0)).all(axis=2).any()


def test_rooms_to_bag(tmp_path, capsys):
    folder, bag = str(tmp_path / "room"), str(tmp_path / "bag")
    assert main(["data", "rooms", "--out", folder, "--seed", "1000000003", "--frames", "3", "--size", "32x24"]) == 0
    assert main(["data", "to-bag", folder, bag, "--compressed"]) == 0
    sequence = open_sequence(bag)
    assert len(sequence.frames) == 3 and sequence.metric is True and sequence.has_depth
    assert sequence.frames[0].view().image.shape == (24, 32, 3)
    assert main(["data", "to-bag", folder, bag]) == 1
    assert "exists already" in capsys.readouterr().err


def test_gld_synthesize(tmp_path):
    folder = str(tmp_path / "room")
    main(["data", "rooms", "--out", folder, "--seed", "1000000003", "--frames", "3", "--size", "96x72"])
    out = tmp_path / "out"
    arguments = ["synthesize", folder, "--sources", "0,2", "--targets", "1", "--out", str(out), "--steps", "1"]
    assert main(arguments) == 0
    for name in ("view_00.png", "view_00_depth.png", "view_00_depth.npy", "points.ply", "sheet.png", "report.json"):
        assert (out / name).stat().st_size > 0
    assert main([*arguments[:5], "9", *arguments[6:]]) == 1


def test_help_is_light():
    """`gld --help` must not pay for torch."""
    import subprocess
    import sys

    code = "import sys, gld_ros.cli; sys.exit('torch' in sys.modules or 'rosbags' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
