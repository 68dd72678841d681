# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables out of figures by scene, with 95 % intervals by resampling scenes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gld_ros.metrics.bootstrap import Estimate, estimate
from gld_ros.reproduction.variants import SYSTEMS

Cell = Estimate | None
#: Figures of the tables and how they are headed; the arrow says which way is better.
COLUMNS = {
    "psnr": "PSNR dB ↑",
    "psnr_between": "between ↑",
    "psnr_beyond": "beyond ↑",
    "ssim": "SSIM ↑",
    "depth_abs_rel": "depth AbsRel ↓",
    "depth_delta1": "delta1 ↑",
    "ate": "ATE m ↓",
    "rpe_translation": "RPE m ↓",
    "rpe_rotation_deg": "RPE deg ↓",
}
PAPER = {
    "a": "4.4 times fewer steps than the VAE latent to its final PSNR",
    "b": "k = 0..3: PSNR 12.55 / 13.61 / 13.35 / 13.35 dB, AbsRel .267 / .191 / .254 / .260",
    "c": "cascade 19.00 dB, independent 18.81 dB (Re10K, 4 sources)",
    "d": "GLD 35.41, SD-VAE 34.53, DINO (RAE) 26.78, single levels F0..F3 28.01 / 25.36 / 14.01 / 10.19 dB",
    "e": "Re10K, 2 sources: GLD 16.36, VAE latent 15.65, DINO latent 15.63 dB",
}


@dataclass
class Table:
    """rows: name to a cell a column."""

    key: str
    title: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        rows = {name: [None if c is None else asdict(c) for c in cells] for name, cells in self.rows.items()}
        return {
            "title": self.title,
            "columns": self.columns,
            "rows": rows,
            "paper": PAPER[self.key],
            "notes": self.notes,
        }


def cell(values: list[float] | None) -> Cell:
    """Of the finite values; None without."""
    finite = np.array([v for v in values or [] if v is not None and np.isfinite(v)])
    return estimate(finite) if len(finite) else None


def rows_of(figures: dict[str, dict[str, list[float]]], columns: list[str]) -> dict[str, list[Cell]]:
    return {name: [cell(found.get(column)) for column in columns] for name, found in figures.items()}


def less(a: dict[str, list[float]], b: dict[str, list[float]], columns: list[str]) -> list[Cell]:
    """Mean of a minus b, scene by scene."""
    return [cell((np.array(a[c]) - np.array(b[c])).tolist()) if c in a and c in b else None for c in columns]


@dataclass(frozen=True)
class Ratio:
    """How many times fewer steps: the slow one's all, over those the fast one takes to its final PSNR.

    None: never reached. at_least: reached before the first milestone, so that the ratio is a lower bound.
    reached: share of the resamples in which it is reached at all.
    """

    ratio: float | None
    low: float | None
    high: float | None
    at_least: bool
    reached: float


def first_crossing(steps: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """Steps at which the line through the milestones first reaches `goal`; the first milestone at the earliest."""
    above = np.flatnonzero(curve >= goal)
    if not len(above):
        return np.inf
    i = int(above[0])
    if i == 0:
        return float(steps[0])
    part = (goal - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(steps[i - 1] + part * (steps[i] - steps[i - 1]))


def convergence(steps: list[int], fast: np.ndarray, slow: np.ndarray, resamples: int = 2000, seed: int = 0) -> Ratio:
    """Of curves (milestones, scenes) on the same scenes; the interval by resampling scenes, never reached counts 0."""
    times = np.array(steps, dtype=np.float64)

    def ratio(scenes: np.ndarray) -> float:
        a, b = fast[:, scenes].mean(axis=1), slow[:, scenes].mean(axis=1)
        return float(times[-1] / first_crossing(times, a, b[-1]))

    count = fast.shape[1]
    value = ratio(np.arange(count))
    draws = np.random.default_rng(seed).integers(count, size=(resamples, count))
    found = np.array([ratio(draw) for draw in draws])
    low, high = np.percentile(found, (2.5, 97.5)) if count > 1 else (None, None)
    reached = float((found > 0).mean())
    as_float = [None if x is None else float(x) for x in (low, high)]
    return Ratio(value or None, as_float[0], as_float[1], bool(value == times[-1] / times[0]), reached)


def tables(results: dict[str, Any], only: list[str]) -> list[Table]:
    """The tables of these experiments."""
    makers = {"a": steps_table, "b": boundary_table, "c": cascade_table, "d": reconstruction_table, "e": view_table}
    return [makers[key](results) for key in only]


def steps_table(results: dict[str, Any]) -> Table:
    curves = {name: curve for name, curve in results["curves"].items() if curve["psnr"]}
    steps = curves["level1"]["steps"]
    shown = [name for name in ("level1", "vae", "compressed", "dino", "regression") if name in curves]
    rows = {SYSTEMS[name].title: [cell(values) for values in curves[name]["psnr"]] for name in shown}
    gld = np.array(curves["level1"]["psnr"])
    for name in shown[1:]:
        difference = gld - np.array(curves[name]["psnr"])
        rows[f"GLD minus {SYSTEMS[name].title}"] = [cell(values.tolist()) for values in difference]
    notes = [f"{title}: {ratio_text(ratio)}" for title, ratio in ratios(results).items()]
    notes.append("One diffusion stage each, of equal size; level 0 of GLD is left out here, levels 2 and 3 follow.")
    return Table("a", "(a) PSNR of the targets in dB, after steps", [f"{n} steps" for n in steps], rows, notes)


def ratios(results: dict[str, Any]) -> dict[str, Ratio]:
    """Of GLD against the other latents."""
    curves = results["curves"]
    gld, found = np.array(curves["level1"]["psnr"]), {}
    for name, title in (("vae", "VAE"), ("compressed", "few-channel VAE"), ("dino", "DINO-like")):
        if name in curves:
            other = np.array(curves[name]["psnr"])
            found[f"GLD to the final PSNR of the {title} latent"] = convergence(curves[name]["steps"], gld, other)
            found[f"{title} latent to the final PSNR of GLD"] = convergence(curves[name]["steps"], other, gld)
    return found


def ratio_text(ratio: Ratio) -> str:
    if ratio.ratio is None:
        text = "not reached in as many steps"
    else:
        text = f"{'at least ' if ratio.at_least else ''}{ratio.ratio:.2f} times fewer steps"
    if ratio.low is not None and ratio.high:
        low = f"{ratio.low:.2f}" if ratio.low else "not reached"
        text += f" [{low} .. {ratio.high:.2f}]"
    return f"{text}, reached in {ratio.reached:.1%} of the resamples"


def boundary_table(results: dict[str, Any]) -> Table:
    columns = ["psnr", "ssim", "depth_abs_rel", "depth_delta1"]
    systems = {f"k = {k}": results["systems"][f"level{k}"] for k in range(4)}
    rows = rows_of(systems, columns)
    for k in (0, 2, 3):
        rows[f"k = 1 minus k = {k}"] = less(systems["k = 1"], systems[f"k = {k}"], columns)
    note = "One stage each: level k is generated, those above follow by propagation, those below are left out."
    return Table("b", "(b) Boundary: the level that is diffused first", [COLUMNS[c] for c in columns], rows, [note])


def cascade_table(results: dict[str, Any]) -> Table:
    columns = ["psnr", "psnr_between", "psnr_beyond", "ssim", "depth_abs_rel", "ate", "rpe_rotation_deg"]
    systems = {SYSTEMS[name].title: results["systems"][name] for name in ("level1", "cascade", "independent")}
    rows = rows_of(systems, columns)
    alone, cascade, independent = systems.values()
    rows["cascade minus independent"] = less(cascade, independent, columns)
    rows["cascade minus level 1 alone"] = less(cascade, alone, columns)
    return Table("c", "(c) Level 0: cascade or independent", [COLUMNS[c] for c in columns], rows)


def reconstruction_table(results: dict[str, Any]) -> Table:
    columns = ["psnr", "ssim"]
    note = "One RGB decoder a space, trained with levels left out; real views in, no generation."
    rows = rows_of(results["reconstruction"], columns)
    return Table("d", "(d) Reconstruction of real views", [COLUMNS[c] for c in columns], rows, [note])


def view_table(results: dict[str, Any]) -> Table:
    columns = list(COLUMNS)
    figures = {SYSTEMS[name].title: found for name, found in results["systems"].items()} | results["references"]
    notes = [
        "Poses: of the four views, sources real, re-estimated by the rays of the geometry encoder, after Sim(3); "
        "the row of real views is the floor of that estimate.",
        "Depth: read off the generated levels by the geometry head, each view brought to the ratio of medians.",
    ]
    return Table("e", "(e) Novel views", [COLUMNS[c] for c in columns], rows_of(figures, columns), notes)
