# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo and `gld synthesize` leave: frames held out, views compared with them, files, the contact sheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gld_ros.data.scene_file import write_scene
from gld_ros.data.sequence import save_depth_png
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import unproject
from gld_ros.metrics.geometry import depth_errors
from gld_ros.metrics.image import psnr
from gld_ros.reports.cloud_viewer import cloud_viewer
from gld_ros.reports.pages import Part, cell, write_page
from gld_ros.reports.pictures import (
    BAR,
    BAR_LENGTH,
    MARGIN,
    TEXT,
    TICKS,
    Cell,
    cloud_picture,
    colour_depth,
    colour_spread,
    depth_range,
    draw_colour_bar,
    draw_table,
    outlined,
    spread_range,
)
from gld_ros.scene.ply import Points, write_ply
from gld_ros.views import SourceView

SHEET_SOURCES, SHEET_HEIGHT = 2, 150  # of a row of the contact sheet: sources; pixels of a cell
SHORT = 8  # instants; below, every second one is left out, else every third


@dataclass(frozen=True)
class HoldOut:
    """Indices of instants (frames of one time). Every target lies between two shown instants.

    shown: published. left_out: not published. targets: those of `left_out` that are asked for.
    """

    shown: list[int]
    left_out: list[int]
    targets: list[int]


def hold_out(count: int, max_targets: int, max_instants: int = 60) -> HoldOut:
    """Choose among `count` instants in time order. A long sequence is thinned evenly to `max_instants` first.

    Raises ValueError below 3 instants: nothing could be bracketed.
    """
    if count < 3:
        raise ValueError(f"{count} instants: at least 3 are needed to leave one out between two others")
    used = [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, max_instants)).round())]
    asked = used[1:-1:2] if len(used) < SHORT else used[1:-1:3]
    picks = np.linspace(0, len(asked) - 1, min(len(asked), max_targets)).round().astype(int)
    shown = [index for index in used if index not in asked]
    left_out = sorted(set(range(count)) - set(shown))
    return HoldOut(shown, left_out, [asked[pick] for pick in np.unique(picks)])


#: Figures of one view; None where there is nothing to compare (no depth, no such pixels, another size).
Figures = dict[str, float | None]


def abs_rel(depth: np.ndarray, real: np.ndarray | None, where: np.ndarray | None = None) -> float | None:
    """Mean |depth - real| / real where both (H, W) maps are known; None without such pixels."""
    errors = None if real is None else depth_errors(depth, real, where)
    return errors["abs_rel"] if errors else None


def compare(
    image: np.ndarray,
    depth: np.ndarray,
    generated: np.ndarray,
    real: SourceView,
    copy: np.ndarray,
) -> Figures:
    """Figures of a synthesized view (image (H, W, 3), depth and generated (H, W)) of the camera of `real`.

    copy: (H, W, 3) the observed image nearest in pose, the baseline of doing nothing; of another size it is none.
    Pixels that the mask of `real` excludes are not compared. Endings: _observed, over the pixels seen by some source
    view; _unobserved, over the others, which the model made up.
    """
    found: Figures = {
        "psnr_db": psnr(image, real.image, real.mask) or 0.0,
        "copy_nearest_psnr_db": (psnr(copy, real.image, real.mask) or 0.0) if copy.shape == real.image.shape else None,
        "depth_abs_rel": abs_rel(depth, real.depth, real.mask),
        "generated_share": float(generated.mean()),
    }
    scored = True if real.mask is None else real.mask
    for name, where in (("observed", ~generated & scored), ("unobserved", generated & scored)):
        found[f"psnr_db_{name}"] = psnr(image, real.image, where)
        found[f"depth_abs_rel_{name}"] = abs_rel(depth, real.depth, where)
    return found


@dataclass(frozen=True)
class Result:
    """One synthesized view (arrays as in `pipeline.views.View`), the left-out frame of the same pose, its sources.

    copy: (H, W, 3) the observed image nearest in pose. others: image and depth of the same view made with other seeds.
    """

    title: str
    camera: Camera
    image: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    generated: np.ndarray
    real: SourceView
    sources: list[SourceView]
    copy: np.ndarray
    others: Sequence[tuple[np.ndarray, np.ndarray]] = ()

    @property
    def spread(self) -> np.ndarray | None:
        """(H, W) standard deviation of log depth over all seeds, NaN where one does not know it; None for one seed."""
        if not self.others:
            return None
        depths = np.stack([self.depth, *(depth for _, depth in self.others)])
        return np.log(depths).std(axis=0, ddof=1)

    def points(self) -> Points:
        """Its known pixels as points of the map frame."""
        known = np.isfinite(self.depth)
        xyz = unproject(self.depth, self.camera)[known]
        return Points(xyz, self.image[known], self.confidence[known], self.generated[known])

    def comparison(self) -> Figures:
        """The view against reality."""
        return compare(self.image, self.depth, self.generated, self.real, self.copy)

    def cells(self, near: float, far: float, most: float) -> dict[str, Cell]:
        """Pictures of the contact sheet by column; near, far: ends of the colours of depth, most: of its spread."""
        cells: dict[str, Cell] = {f"source {k + 1}": view.image for k, view in enumerate(self.sources[:SHEET_SOURCES])}
        cells |= {"real (left out)": self.real.image, "synthesized": outlined(self.image, self.generated)}
        cells |= {f"other seed {k + 1}": image for k, (image, _) in enumerate(self.others)}
        spread, real = self.spread, self.real.depth
        cells["spread of depth"] = None if spread is None else colour_spread(spread, most)
        cells["real depth"] = None if real is None else colour_depth(real, near, far)
        cells["synthesized depth"] = colour_depth(self.depth, near, far)
        return cells


def write_results(out: Path, results: list[Result], unit: str) -> dict[str, Any]:
    """Write the files of all results into `out`; returns the figures.

    The files are PNG and depth of every result, sheet.png, points.ply, cloud.png, scene.mcap (`write_scene`), and
    results.html, which needs no other file.

    unit: of depth and poses, for the colour bar. The figures are means over the views that have them, `points_origin`
    (what the coordinates of points.ply count from), and `views`.
    """
    out.mkdir(parents=True, exist_ok=True)
    for index, result in enumerate(results):
        Image.fromarray(result.image).save(out / f"view_{index:02d}.png")
        Image.fromarray(np.where(result.generated, 255, 0).astype(np.uint8)).save(
            out / f"view_{index:02d}_generated.png"
        )
        save_depth_png(out / f"view_{index:02d}_depth.png", result.depth)
        np.save(out / f"view_{index:02d}_depth.npy", result.depth)
    clouds = [result.points() for result in results]
    points = Points(*(np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in Points.__annotations__))
    write_ply(out / "points.ply", points)
    sources = {id(source): source.camera for result in results for source in result.sources}
    cloud_picture(points, list(sources.values())).save(out / "cloud.png")
    contact_sheet(results, unit).save(out / "sheet.png")
    write_scene(out / "scene.mcap", pictures(results), points)
    comparisons = [result.comparison() for result in results]
    figures: dict[str, Any] = dict(summary(comparisons))
    figures["points_origin"] = points.origin.tolist()
    figures["views"] = [{"title": r.title, **c} for r, c in zip(results, comparisons, strict=True)]
    write_page(out / "results.html", "Synthesized views", page_parts(out, results, figures, points))
    return figures


def pictures(results: Sequence[Result]) -> list[tuple[str, SourceView]]:
    """Sources (once each) and views with their depth, named source_00, ... and view_00, ..."""
    sources = {id(source): source for result in results for source in result.sources}
    named = [(f"source_{k:02d}", replace(source, depth=None)) for k, source in enumerate(sources.values())]
    return named + [
        (f"view_{k:02d}", SourceView(result.image, result.camera, result.real.stamp, result.depth))
        for k, result in enumerate(results)
    ]


def page_parts(out: Path, results: Sequence[Result], figures: dict[str, Any], points: Points) -> list[Part]:
    """The parts of the page: the figures, the contact sheet that lies in `out`, the cloud."""
    names = [name for name in figures if name not in ("views", "points_origin")]
    rows = [[cell(view[name]) for name in ("title", *names)] for view in figures["views"]]
    note = "An orange line surrounds what the model made up; depth is bright where it is near. Beside this page lie "
    note += "points.ply, for MeshLab, CloudCompare and others, and scene.mcap, for Foxglove and rerun."
    return [
        Part(lines=[note]),
        Part("Pictures and depth", picture=out / "sheet.png"),
        Part("Cloud", viewer=cloud_viewer(points, results[0].camera)),
        Part("Figures against the real frames", columns=["view", *names], rows=rows),
    ]


def summary(comparisons: list[Figures]) -> Figures:
    """Mean of every figure over the comparisons that have it; None where none has.

    A view counts for a figure of a region as much as it has of that region: a few generated pixels do not tell much.
    """
    figures: Figures = {}
    for name in comparisons[0]:
        pairs = [(value, _weight(view, name)) for view in comparisons if (value := view[name]) is not None]
        total = sum(weight for _, weight in pairs)
        figures[name] = float(sum(value * weight for value, weight in pairs) / total) if total > 0 else None
    return figures


def _weight(view: Figures, name: str) -> float:
    share = view["generated_share"] or 0.0
    if name.endswith("_unobserved"):
        return share
    return 1 - share if name.endswith("_observed") else 1.0


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write `report` as JSON; NaN and infinities are refused (ValueError), so that any reader can parse it."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def contact_sheet(results: Sequence[Result], unit: str = "m") -> Image.Image:
    """One row a view: sources | real | synthesized | other seeds | spread of depth | real depth | synthesized depth.

    An orange line surrounds what was generated. Columns that no row has are left out. unit: of the depths, for the
    colour bar, which all rows share. Raises ValueError without rows.
    """
    if not results:
        raise ValueError("a contact sheet needs at least one row")
    real_depths = [result.real.depth for result in results if result.real.depth is not None]
    near, far = depth_range(real_depths or [result.depth for result in results])
    spreads = [spread for spread in (result.spread for result in results) if spread is not None]
    most = spread_range(spreads)
    rows = [(result.title, result.cells(near, far, most)) for result in results]
    names = dict.fromkeys(name for _, cells in sorted(rows, key=lambda row: -len(row[1])) for name in cells)
    columns = [name for name in names if name != "spread of depth" or spreads]
    sheet = draw_table(rows, SHEET_HEIGHT, columns, BAR + TEXT)
    ramp = np.geomspace(near, far, BAR_LENGTH)
    labels = [f"{depth:.3g} {unit}" for depth in ramp[TICKS]]
    end = draw_colour_bar(sheet, MARGIN, colour_depth(ramp[None], near, far), labels)
    if spreads:
        ramp = np.linspace(0, most, BAR_LENGTH)
        labels = [f"{100 * spread:.2g} %" for spread in ramp[TICKS]]
        end = draw_colour_bar(sheet, end, colour_spread(ramp[None], most), labels)
    note = "orange line: around what was generated; grey: unknown"
    ImageDraw.Draw(sheet).text((end, sheet.height - BAR - TEXT - MARGIN), note, "black", ImageFont.load_default())
    return sheet
