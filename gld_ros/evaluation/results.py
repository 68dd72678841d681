# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: a picture, depth and points of every synthesized view, the contact sheet, the figures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.data.ply import Points, write_ply
from gld_ros.data.sequence import save_depth_png
from gld_ros.evaluation.comparison import Comparison, compare
from gld_ros.evaluation.pictures import SheetRow, cloud_picture, contact_sheet
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import unproject
from gld_ros.pipeline.views import SourceView

SHEET_SOURCES = 2  # shown in a row of the contact sheet


@dataclass(frozen=True)
class Result:
    """One synthesized view (arrays as in `pipeline.views.View`), the left-out frame of the same pose, its sources.

    copy: (H, W, 3) the observed image nearest in pose.
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

    def points(self) -> Points:
        """Its known pixels as points of the map frame."""
        known = np.isfinite(self.depth)
        xyz = unproject(self.depth, self.camera)[known].astype(np.float32)
        return Points(xyz, self.image[known], self.confidence[known], self.generated[known])

    def comparison(self) -> Comparison:
        return compare(self.image, self.depth, self.generated, self.real, self.copy)


def write_results(out: Path, results: list[Result], unit: str) -> dict[str, Any]:
    """Write PNG and depth of every result, points.ply, cloud.png and sheet.png into `out`; returns the figures.

    unit: of depth and poses, for the colour bar. The figures are means over the views that have them, and `views`.
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
    contact_sheet([_row(result) for result in results], unit=unit).save(out / "sheet.png")
    comparisons = [result.comparison() for result in results]
    figures: dict[str, Any] = dict(summary(comparisons))
    figures["views"] = [{"title": r.title, **asdict(c)} for r, c in zip(results, comparisons, strict=True)]
    return figures


def summary(comparisons: list[Comparison]) -> dict[str, float | None]:
    """Mean of every figure over the comparisons that have it; None where none has."""
    rows = [asdict(comparison) for comparison in comparisons]
    figures: dict[str, float | None] = {}
    for name in Comparison.__annotations__:
        values = [row[name] for row in rows if row[name] is not None]
        figures[name] = float(np.mean(values)) if values else None
    return figures


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write `report` as JSON; NaN and infinities are refused (ValueError), so that any reader can parse it."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def _row(result: Result) -> SheetRow:
    pictures = [source.image for source in result.sources[:SHEET_SOURCES]]
    real = result.real
    return SheetRow(result.title, pictures, result.image, result.depth, result.generated, real.image, real.depth)
