# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a run: picture, depth and points of every synthesized view, the contact sheet, the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.data.sequence import save_depth_png
from gld_ros.evaluation.comparison import Comparison, compare
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import unproject
from gld_ros.reports.pictures import SheetRow, cloud_picture, contact_sheet
from gld_ros.scene.ply import Points, write_ply
from gld_ros.views import SourceView

SHEET_SOURCES = 2  # shown in a row of the contact sheet


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
    """Mean of every figure over the comparisons that have it; None where none has.

    A view counts for a figure of a region as much as it has of that region: a few generated pixels do not tell much.
    """
    figures: dict[str, float | None] = {}
    for name in Comparison.__annotations__:
        having = [comparison for comparison in comparisons if getattr(comparison, name) is not None]
        weights = [_weight(comparison, name) for comparison in having]
        values = [getattr(comparison, name) for comparison in having]
        figures[name] = float(np.average(values, weights=weights)) if sum(weights) > 0 else None
    return figures


def _weight(comparison: Comparison, name: str) -> float:
    if name.endswith("_unobserved"):
        return comparison.generated_share
    return 1 - comparison.generated_share if name.endswith("_observed") else 1.0


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write `report` as JSON; NaN and infinities are refused (ValueError), so that any reader can parse it."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def _row(result: Result) -> SheetRow:
    pictures = [source.image for source in result.sources[:SHEET_SOURCES]]
    return SheetRow(
        title=result.title,
        sources=pictures,
        synthesized=result.image,
        depth=result.depth,
        generated=result.generated,
        real=result.real.image,
        real_depth=result.real.depth,
        others=[image for image, _ in result.others],
        spread=result.spread,
    )
