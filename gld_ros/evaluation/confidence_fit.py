# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting and checking a model's `Calibration` on procedural rooms: val rooms to fit, test rooms to check.

Pixels of one room err together, so rooms, not pixels, are what is exchangeable: conformal factors count one more room,
as large as the largest, of which every pixel is missed (conformal risk control, Angelopoulos et al. 2022, with the loss
"missed pixels less the allowed share"), and intervals of the measured shares come from resampling rooms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from tqdm import tqdm

from gld_ros.calibration import LEVELS, RIGHT, Calibration, RegionCalibration
from gld_ros.confidence import confidence
from gld_ros.data.clips import Clip
from gld_ros.data.raytrace import render
from gld_ros.data.room_views import render_scenes, sample_cameras
from gld_ros.data.rooms import camera_pose, random_room, stack_rooms
from gld_ros.errors import InvalidRequest, NoContext, ScaleUnknown
from gld_ros.evaluation.scenes import SPLITS, Choice, Scene, scene_of_clip
from gld_ros.files import replacing
from gld_ros.geometry.cameras import Camera
from gld_ros.metrics.uncertainty import calibration_error, reliability, share_interval
from gld_ros.pipeline.pipeline import GLDPipeline

WORKING, NATIVE = (96, 72), (320, 240)  # (W, H): as mini works, and larger, as cameras are
KNOTS = 10  # of the curve from spread to probability
VIEW_PIXELS = 8000  # of one view that are measured, the same ones every time
MARGIN = 0.1  # metres before a missed obstacle counts as missed by a margin
NOVELTY_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
REGIONS = ("all", "observed", "generated")


@dataclass
class Pixels:
    """The model's spread at the pixels of T views, and its errors there.

    depth: (T, N) metres, as the model says; error: (T, N) log depth less the true one; spread: (T, N) as the model
    states it; generated: (T, N) bool; room: (T,) number of the view's room; novelty: (T,). refused: rooms
    without views, as the model found no scale or no support.
    """

    depth: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    generated: np.ndarray
    room: np.ndarray
    novelty: np.ndarray
    refused: int = 0

    def save(self, path: Path, weights: dict[str, str]) -> None:
        """Write them as .npz, whole or not at all, with the hashes of the model's weights."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, weights=json.dumps(weights), **asdict(self))

    @classmethod
    def load(cls, path: Path, weights: dict[str, str]) -> Pixels:
        """Read a file of `save`. Raises InvalidRequest for another file, and for one of other weights."""
        try:
            with np.load(path) as file:
                found = json.loads(str(file["weights"]))
                pixels = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise InvalidRequest(f"{path}: no pixels of gld calibrate-confidence ({error})") from error
        if found != weights:
            raise InvalidRequest(f"{path}: measured with other weights of the model; remove it")
        return pixels

    def region(self, name: str) -> np.ndarray:
        """(T, N) bool: the pixels of one of REGIONS."""
        return {"all": np.ones_like(self.generated), "observed": ~self.generated, "generated": self.generated}[name]


@dataclass(frozen=True)
class Rooms:
    """The rooms that are measured. count: of rooms of the split, two targets each; size: (W, H) of the cameras; far:
    one target a room instead, up to six baselines from the sources; samples: drawn for every view."""

    split: str = "val"
    count: int = 1000
    size: tuple[int, int] = WORKING
    far: bool = False
    samples: int = 1

    def __str__(self) -> str:
        far, samples = "-far" * self.far, f"-{self.samples}" if self.samples > 1 else ""
        return f"{self.split}-{self.count}-{self.size[0]}x{self.size[1]}{far}{samples}"

    def scenes(self) -> Iterator[Scene]:
        """The rooms, one after the other."""
        for seed in range(SPLITS[self.split], SPLITS[self.split] + self.count):
            if self.far:
                yield _far_room(seed, self.size)
            else:
                views = render_scenes([seed], *self.size)
                clip = Clip(views.images[0], views.K[0], views.c2w[0], views.depth[0], f"room_{seed}")
                yield scene_of_clip(clip, Choice([0, 1], [2, 3]), "rooms", "m")

    def native(self, pipe: GLDPipeline) -> bool:
        """True where observed pixels are read back at the cameras' own resolution, not the model's."""
        width, height = self.size
        camera = Camera(np.diag([width, width, 1.0]), np.eye(4), width, height)
        return pipe.generator.limits.native and pipe.generator.working_size(camera) != (height, width)


def _far_room(seed: int, size: tuple[int, int]) -> Scene:
    """A room's two sources, and one target a tenth to six times their distance away that looks elsewhere (sigma of the
    turn: 35 degrees)."""
    room, rng = random_room(seed), np.random.default_rng([seed, 3])
    K, c2w = sample_cameras(room, np.random.default_rng([seed, 2]), *size)
    baseline, forward = np.linalg.norm(c2w[0, :3, 3] - c2w[1, :3, 3]), c2w[0, :3, 2]
    for _ in range(100):  # until it stands free; the room's own target otherwise
        step = rng.standard_normal(3) * (1, 1, 0.3)
        step *= baseline * math.exp(rng.uniform(math.log(0.1), math.log(6))) / np.linalg.norm(step)
        yaw = math.atan2(forward[1], forward[0]) + rng.normal(0, math.radians(35))
        pose = camera_pose(c2w[rng.integers(2), :3, 3] + step, yaw, math.asin(forward[2]), 0.0)
        if room.clearance(np.stack([pose[:3, 3], pose[:3, 3] + 0.3 * pose[:3, 2]])).min() > 0.15:
            c2w[2] = pose
            break
    cameras = torch.tensor(K[:3]).float(), torch.tensor(c2w[:3]).float()
    images, depth = render(stack_rooms([room]), cameras[0][None], cameras[1][None], size[1], size[0], True)
    clip = Clip(images[0], *cameras, depth[0], f"far_{seed}")
    return scene_of_clip(clip, Choice([0, 1], [2]), "far", "m")


def measure(pipe: GLDPipeline, rooms: Rooms, weights: dict[str, str], folder: Path | None = None) -> Pixels:
    """Measure the model on these rooms. folder: the result is kept there, and taken from there if it exists.

    Raises InvalidRequest if the model refuses all rooms, or for a file that is another one than it should be.
    """
    path = folder / f"{rooms}.npz" if folder else None
    if path and path.exists():
        return Pixels.load(path, weights)
    columns: dict[str, list] = {name: [] for name in ("depth", "error", "spread", "generated", "room", "novelty")}
    refused = 0
    for number, scene in enumerate(tqdm(rooms.scenes(), desc=str(rooms), total=rooms.count, mininterval=2)):
        try:
            views = pipe(scene.sources, scene.cameras, seed=0, strict_scale=False, samples=rooms.samples)
        except (ScaleUnknown, NoContext):
            refused += 1
            continue
        for view, target in zip(views, scene.targets, strict=True):
            assert target.depth is not None and view.spread is not None
            chosen = np.random.default_rng(0).permutation(view.depth.size)[:VIEW_PIXELS]
            error = np.log(view.depth / target.depth)
            maps = {"depth": view.depth, "error": error, "spread": view.spread, "generated": view.generated}
            for name, array in maps.items():
                columns[name].append(array.ravel()[chosen])
            columns["room"].append(number)
            columns["novelty"].append(view.novelty)
    if not columns["room"]:
        raise InvalidRequest("no room could be measured: the model refused all of them")
    pixels = Pixels(**{name: np.stack(values) for name, values in columns.items()}, refused=refused)
    if path:
        pixels.save(path, weights)
    return pixels


def fit(pixels: Pixels, weights: dict[str, str], fitted: dict[str, Any], native: Pixels | None = None) -> Calibration:
    """The calibration of these pixels. native: of views at the camera's own resolution, for models that treat their
    observed pixels differently. Raises InvalidRequest where pixels are too few for the levels."""
    regions = {name: _fit_region(pixels, name) for name in ("observed", "generated")}
    return Calibration(weights, **regions, native=_fit_region(native, "observed") if native else None, fitted=fitted)


def _fit_region(pixels: Pixels, name: str) -> RegionCalibration:
    where = pixels.region(name)
    if not where.any():
        raise InvalidRequest(f"no {name} pixels in these rooms: measure more of them")
    error, spread = np.abs(pixels.error[where]), pixels.spread[where]
    one_more = np.bincount(pixels.room, where.sum(axis=1)).max()
    factors = [conformal_factor(error / spread, level, int(one_more)) for level in LEVELS]
    if not all(map(math.isfinite, factors)):
        raise InvalidRequest(f"{error.size} {name} pixels are too few for coverage {LEVELS[-1]}: measure more rooms")
    knots, probability = falling_curve(spread, error < RIGHT)
    curve: dict[float, float] = {}
    for knot, share in zip(knots, probability, strict=True):  # of knots that are one when rounded, the first
        curve.setdefault(round(float(knot), 4), round(float(share), 4))
    return RegionCalibration(tuple(curve), tuple(curve.values()), tuple(round(factor, 4) for factor in factors))


def conformal_factor(scores: np.ndarray, level: float, one_more: int) -> float:
    """Least q with at most the share 1 - level of `scores` (N,) above it, counting `one_more` that are all missed.

    The scores of exchangeable rooms then cover the share `level` of the next room's pixels, in the mean over rooms
    weighted by their pixels. Infinite where there are too few.
    """
    rank = math.ceil(level * (scores.size + one_more))
    return math.inf if rank > scores.size else float(np.partition(scores, rank - 1)[rank - 1])


def falling_curve(spread: np.ndarray, right: np.ndarray, knots: int = KNOTS) -> tuple[np.ndarray, np.ndarray]:
    """Knots (K,) of `spread` (N,) and the share that is `right` (N,) about each, falling: means over equally many
    pixels, joined where they would rise (pool adjacent violators)."""
    order = np.argsort(spread)
    groups = [[len(part), np.log(spread[part]).mean(), right[part].mean()] for part in np.array_split(order, knots)]
    pooled: list[list[float]] = []
    for group in groups:
        pooled.append(group)
        while len(pooled) > 1 and (pooled[-1][2] > pooled[-2][2] or pooled[-1][1] <= pooled[-2][1]):
            (n, x, y), (m, u, v) = pooled.pop(), pooled.pop()
            pooled.append([n + m, (n * x + m * u) / (n + m), (n * y + m * v) / (n + m)])
    _, log, share = np.array(pooled).T
    return np.exp(log), share


def check(pixels: Pixels, calibration: Calibration | None) -> dict[str, Any]:
    """Figures of a model on these pixels; without a calibration there are no intervals to check.

    By region: `ece` of "depth right within 10 %" over all pixels, `ece_per_view` (mean over views of each view's own),
    the reliability curve; and by level the covered share with a 95 % interval over rooms and the interval's median
    size, and at 90 % the share of missed obstacles: true depth less than the lower bound, and less by MARGIN. None
    where a region has no pixels.
    """
    stated = confidence(pixels.spread, pixels.generated, calibration)
    right = np.abs(pixels.error) < RIGHT
    found: dict[str, Any] = {
        "views": len(pixels.room),
        "rooms": len(np.unique(pixels.room)),
        "refused": int(pixels.refused),
        "calibrated": calibration is not None,
    }
    for name in REGIONS:
        where = pixels.region(name)
        by_view = [calibration_error(stated[k][w], right[k][w]) for k, w in enumerate(where) if w.sum() >= 20]
        found[name] = region = {
            "share": float(where.mean()),
            "right": _figure(np.mean, right[where]),
            "ece": calibration_error(stated[where], right[where]),
            "ece_per_view": _figure(np.mean, np.array([e for e in by_view if e is not None])),
            "reliability": reliability(stated[where], right[where]),
        }
        if calibration is not None:
            region |= _intervals(pixels, calibration, where)
    if calibration is not None:
        found["by_novelty"] = _by_novelty(pixels, calibration, stated, right)
    return found


def _figure(mean: Callable[[np.ndarray], Any], values: np.ndarray) -> float | None:
    return float(mean(values)) if values.size else None


def _intervals(pixels: Pixels, calibration: Calibration, where: np.ndarray) -> dict[str, Any]:
    coverage = {}
    for level in LEVELS:
        reach = calibration.reach(pixels.spread, pixels.generated, level)
        covered = np.abs(pixels.error) <= reach
        coverage[str(level)] = share_interval(covered, where, pixels.room) | {
            "median_width": _figure(np.median, 2 * np.sinh(reach[where]))
        }
    lower = pixels.depth * np.exp(-calibration.reach(pixels.spread, pixels.generated, 0.9))
    true = pixels.depth * np.exp(-pixels.error)
    missed = {
        "missed_obstacles": share_interval(true < lower, where, pixels.room),
        f"missed_by_{MARGIN:g}m": share_interval(true < lower - MARGIN, where, pixels.room),
    }
    return {"coverage": coverage, **missed}


def _by_novelty(
    pixels: Pixels, calibration: Calibration, stated: np.ndarray, right: np.ndarray
) -> list[dict[str, float | int | None]]:
    """The calibration's error as views go beyond their sources."""
    covered = np.abs(pixels.error) <= calibration.reach(pixels.spread, pixels.generated, 0.9)
    rows: list[dict[str, float | int | None]] = []
    for low, high in zip(NOVELTY_EDGES, NOVELTY_EDGES[1:], strict=False):
        views = (pixels.novelty >= low) & ((pixels.novelty < high) | (high == 1))
        if views.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "views": int(views.sum()),
                    "generated": float(pixels.generated[views].mean()),
                    "right": float(right[views].mean()),
                    "ece": calibration_error(stated[views].ravel(), right[views].ravel()),
                    "coverage_0.9": float(covered[views].mean()),
                }
            )
    return rows
