# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map that a robot gets from a model's depth, against the map that the same code makes of a depth sensor's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.sequence import Frame
from gld_ros.errors import InvalidRequest, NoContext, ScaleUnknown
from gld_ros.geometry.ground import ground_frame
from gld_ros.geometry.points import unproject
from gld_ros.metrics.geometry import depth_errors
from gld_ros.metrics.obstacles import obstacle_errors
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.reports.pages import plot
from gld_ros.scene.key_frames import KeyFrameBuffer, select_sources
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.views import ObservedDepth, SourceView

CELLS = (0.1, 0.2)  # metres, of the grids that are compared; multiples of the map's own
LOW, HIGH = 0.1, 1.5  # metres of height between which something is an obstacle; defaults of `map_low`, `map_high`
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # of the confidence that marks
SOURCES = 2  # default of `max_sources`
GROUND_FRAMES, GROUND_STEP = 40, 16  # frames, and rows and columns of them, that the ground is looked for in


@dataclass(frozen=True)
class Look:
    """A key frame. view: with the sensor's depth. found: the depth that the model finds without it; None: none."""

    view: SourceView
    found: ObservedDepth | None


def evaluate_costmap(
    pipe: GLDPipeline,
    frames: Sequence[Frame],
    ground: str = "found",
    default: MapConfig | None = None,
    done: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Figures of one sequence: `obstacle_errors` for each of CELLS and THRESHOLDS; of the depth and its scale.

    ground: "found" looks for it in the sensor's depth (`ground_frame`); "frame" takes z = 0 of the poses' frame.
    default: the map's settings but confidences. done: called for each frame.
    Raises InvalidRequest for frames without depth and for another `ground`.
    """
    if ground not in ("found", "frame"):
        raise InvalidRequest(f"ground is '{ground}', expected found or frame")
    measured = [frame for frame in frames if frame.read_depth]
    if not measured:
        raise InvalidRequest("no frame has the depth of a sensor, which the map is compared with")
    to_map, share = find_ground(measured) if ground == "found" else (np.eye(4), None)
    default = default or MapConfig()
    sensor = VoxelMap(replace(default, confirmations=0))
    learned = {
        threshold: VoxelMap(
            replace(default, min_confidence=threshold, free_confidence=max(threshold, default.free_confidence))
        )
        for threshold in THRESHOLDS
    }
    scales, errors, count = [], [], 0
    for look in looks(pipe, frames, to_map, done):
        count += 1
        integrate_sensor(sensor, look.view)
        if look.found is None:
            continue
        for voxels in learned.values():
            found = look.found
            voxels.integrate_observed(found.depth, found.image, found.confidence, found.camera, found.stamp)
        compared = depth_errors(*on_same_pixels(look))
        if compared:
            errors.append(compared["abs_rel"])
            scales.append(log_scale(look))
    rows = {
        f"{cell:g}": [{"confidence": threshold, **against(made, sensor, cell)} for threshold, made in learned.items()]
        for cell in CELLS
    }
    return {
        "frames": len(frames),
        "key_frames": count,
        "without_depth": count - len(errors),
        "ground": {"from": ground, "up": to_map[2, :3].tolist(), "share_of_points": share},
        "camera_height": float(np.median([(to_map @ [*frame.camera.center, 1])[2] for frame in frames])),
        "depth_abs_rel": float(np.mean(errors)) if errors else None,
        "scale": jitter(np.array(scales)),
        "cells": rows,
    }


def looks(pipe: GLDPipeline, frames: Sequence[Frame], to_map: np.ndarray, done: Callable[[], object]) -> Iterator[Look]:
    """The key frames in turn, in the map's frame, each with its depth as `gld_node` asks the model for it."""
    kept = KeyFrameBuffer()
    for frame in frames:
        done()
        camera = frame.camera.moved(to_map @ frame.camera.c2w)
        if not kept.wants(frame.camera_name, camera.c2w, frame.stamp):
            continue
        view = replace(frame.view(), camera=camera)
        newest = replace(view, depth=None)
        kept.add(frame.camera_name, newest)
        yield Look(view, depth_of(pipe, newest, kept.frames()))


def depth_of(pipe: GLDPipeline, newest: SourceView, frames: Sequence[SourceView]) -> ObservedDepth | None:
    """The model finds the depth of the newest of `frames` with the others' help; None where it finds nothing."""
    try:
        sources = select_sources(frames, [newest.camera], min(SOURCES, pipe.max_sources))
        if len(sources) < 2:  # one has no parallax
            return None
        pairs = zip(sources, pipe.observed_depth(sources), strict=False)
        return next((found for source, found in pairs if source is newest), None)
    except (NoContext, ScaleUnknown):
        return None


def find_ground(frames: Sequence[Frame]) -> tuple[np.ndarray, float]:
    """`ground_frame` of what the depth sensor saw in some of the frames."""
    some = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, GROUND_FRAMES).round().astype(int))]
    points = []
    for frame in some:
        assert frame.read_depth is not None
        points.append(unproject(frame.read_depth(), frame.camera)[::GROUND_STEP, ::GROUND_STEP].reshape(-1, 3))
    return ground_frame(np.concatenate(points), [frame.camera for frame in some])


def integrate_sensor(voxels: VoxelMap, view: SourceView) -> None:
    """The sensor's depth, of which each pixel is sure; a frame without it starts the map's grid and adds nothing."""
    depth = view.measured
    depth = np.full(view.image.shape[:2], np.nan, np.float32) if depth is None else depth
    voxels.integrate_observed(depth, view.image, np.ones(depth.shape, np.float32), view.camera, view.stamp)


def against(learned: VoxelMap, sensor: VoxelMap, cell: float) -> dict[str, Any]:
    """`obstacle_errors` between LOW and HIGH, in cells of so many metres, which are made of the maps' smaller ones.

    The sensor's cell counts as free if it saw any free space in it, as false marks could not be told otherwise.
    """
    factor = round(cell / learned.config.voxel_size)
    return obstacle_errors(learned.occupancy(LOW, HIGH), sensor.occupancy(LOW, HIGH, free_share=0.0), factor)


def on_same_pixels(look: Look) -> tuple[np.ndarray, np.ndarray]:
    """The found depth and the sensor's at its pixels, (H, W) each; the sensor's is NaN where unknown."""
    assert look.found is not None
    height, width = look.found.depth.shape
    real = look.view.measured
    if real is None:
        return look.found.depth, np.full((height, width), np.nan, np.float32)
    v, u = ((np.arange(n) + 0.5) * of // n for n, of in zip((height, width), real.shape, strict=True))
    return look.found.depth, real[np.ix_(v.astype(int), u.astype(int))]


def log_scale(look: Look) -> float:
    """Median of log(found / real) over the pixels of a key frame where both are known."""
    found, real = on_same_pixels(look)
    known = np.isfinite(found) & np.isfinite(real)
    return float(np.median(np.log(found[known] / real[known])))


def jitter(scales: np.ndarray) -> dict[str, float | None]:
    """The median and standard deviation of the key frames' log scales, and the median step from one to the next."""
    if len(scales) < 2:
        return {"median": None, "deviation": None, "step": None}
    step = float(np.median(np.abs(np.diff(scales))))
    return {"median": float(np.median(scales)), "deviation": float(np.std(scales)), "step": step}


def plot_costmap(path: Path, sequences: dict[str, dict[str, Any]]) -> None:
    """Recall against false marks, a panel a sequence, a curve a cell size, a point a confidence.

    Raises InvalidRequest without matplotlib.
    """
    default = MapConfig().min_confidence
    with plot(path, (4.6 * len(sequences), 3.8), columns=len(sequences)) as panels:
        for axes, (name, figures) in zip(np.atleast_1d(panels), sequences.items(), strict=True):
            for cell, rows in figures["cells"].items():
                shown = [row for row in rows if None not in (row["recall"], row["false_marks"])]
                x, y = [row["false_marks"] for row in shown], [row["recall"] for row in shown]
                (line,) = axes.plot(x, y, "o-", markersize=3, label=f"cells of {cell} m")
                for row in shown:
                    at = row["false_marks"], row["recall"]
                    axes.annotate(f"{row['confidence']:g}", at, xytext=(3, 3), textcoords="offset points", fontsize=7)
                    if row["confidence"] == default:
                        axes.plot(*at, "o", markersize=8, color=line.get_color())
            axes.set(title=name, xlim=(0, 1), ylim=(0, 1), xlabel="share of the marks that are false", ylabel="recall")
            axes.legend(loc="lower right")
