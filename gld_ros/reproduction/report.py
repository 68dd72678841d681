# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables from figures by scene, with 95 % intervals by resampling scenes; their report, page and plot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.metrics.uncertainty import estimate
from gld_ros.reports.pages import Part, cell, markdown_page, plot, write_page
from gld_ros.reports.provenance import git_revision, hardware
from gld_ros.reproduction.plans import Plan
from gld_ros.reproduction.runs import write_json
from gld_ros.reproduction.variants import EXPERIMENTS, TITLES

#: An estimate as a dictionary, or None.
Cell = dict[str, Any] | None
#: Figures of the tables and how they are headed; the arrow points to the better side.
COLUMNS = {
    "psnr": "PSNR dB ↑",
    "psnr_between": "between ↑",
    "psnr_beyond": "beyond ↑",
    "ssim": "SSIM ↑",
    "depth_abs_rel": "depth AbsRel ↓",
    "depth_delta1": "delta1 ↑",
}
PAPER = {
    "a": "4.4 times fewer steps than the VAE latent to its final PSNR",
    "b": "k = 0..3: PSNR 12.55 / 13.61 / 13.35 / 13.35 dB, AbsRel .267 / .191 / .254 / .260",
    "c": "cascade 19.00 dB, independent 18.81 dB (Re10K, 4 sources)",
}


@dataclass
class Table:
    """rows: name to a cell a column."""

    key: str
    title: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    notes: list[str] = field(default_factory=list)


def mean(values: list[float] | np.ndarray | None) -> Cell:
    """The estimate of the finite values; None without."""
    finite = np.array([v for v in ([] if values is None else values) if v is not None and np.isfinite(v)])
    return asdict(estimate(finite)) if len(finite) else None


def tables(results: dict[str, Any], only: list[str]) -> list[Table]:
    """The tables of these experiments."""
    makers = {"a": steps_table, "b": boundary_table, "c": cascade_table}
    return [makers[key](results) for key in only]


def steps_table(results: dict[str, Any]) -> Table:
    curves = {name: results["curves"][name] for name in EXPERIMENTS["a"]}
    rows = {TITLES[name]: [mean(values) for values in curve["psnr"]] for name, curve in curves.items()}
    for name in EXPERIMENTS["a"][1:]:
        differences = np.array(curves["level1"]["psnr"]) - np.array(curves[name]["psnr"])
        rows[f"GLD minus {TITLES[name]}"] = [mean(values) for values in differences]
    notes = [f"{title}: {ratio_text(ratio)}" for title, ratio in ratios(results).items()]
    notes.append("One diffusion stage each, of equal size; level 0 of GLD is left out here, levels 2 and 3 follow.")
    columns = [f"{n} steps" for n in curves["level1"]["steps"]]
    return Table("a", "(a) PSNR of the targets in dB, after steps", columns, rows, notes)


def boundary_table(results: dict[str, Any]) -> Table:
    columns = ["psnr", "ssim", "depth_abs_rel", "depth_delta1"]
    systems = {f"k = {k}": results["systems"][f"level{k}"] for k in range(4)}
    pairs = [("k = 1", f"k = {k}") for k in (0, 2, 3)]
    note = "One stage each: level k is generated, those above follow by propagation, those below are left out."
    return paired_table("b", "(b) Boundary: the level that is diffused first", columns, systems, pairs, [note])


def cascade_table(results: dict[str, Any]) -> Table:
    columns = ["psnr", "psnr_between", "psnr_beyond", "ssim", "depth_abs_rel"]
    systems = {TITLES[name]: results["systems"][name] for name in EXPERIMENTS["c"]}
    alone, cascade, independent = systems
    pairs = [(cascade, independent), (cascade, alone)]
    return paired_table("c", "(c) Level 0: cascade or independent", columns, systems, pairs)


def paired_table(
    key: str,
    title: str,
    columns: list[str],
    systems: dict[str, dict[str, list[float]]],
    pairs: list[tuple[str, str]],
    notes: list[str] | None = None,
) -> Table:
    """Means of every system, and the differences of pairs of systems, scene by scene."""
    rows = {name: [mean(figures.get(c)) for c in columns] for name, figures in systems.items()}
    for a, b in pairs:
        differences = [np.array(systems[a][c]) - np.array(systems[b][c]) for c in columns]
        rows[f"{a} minus {b}"] = [mean(difference) for difference in differences]
    return Table(key, title, [COLUMNS[c] for c in columns], rows, notes or [])


@dataclass(frozen=True)
class Ratio:
    """Steps of the slow stage over those that the fast one takes to the slow one's final PSNR.

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
    """The ratio of curves (milestones, scenes) on the same scenes; the interval resamples scenes, never reached
    counts 0."""
    times = np.array(steps, dtype=np.float64)

    def ratio(scenes: np.ndarray) -> float:
        a, b = fast[:, scenes].mean(axis=1), slow[:, scenes].mean(axis=1)
        return float(times[-1] / first_crossing(times, a, b[-1]))

    count = fast.shape[1]
    value = ratio(np.arange(count))
    ratios = np.array([ratio(draw) for draw in np.random.default_rng(seed).integers(count, size=(resamples, count))])
    low, high = map(float, np.percentile(ratios, (2.5, 97.5))) if count > 1 else (None, None)
    return Ratio(value or None, low, high, bool(value == times[-1] / times[0]), float((ratios > 0).mean()))


def ratios(results: dict[str, Any]) -> dict[str, Ratio]:
    """Convergence of GLD against that of the other latents, both ways."""
    curves, found = results["curves"], {}
    gld, steps = np.array(curves["level1"]["psnr"]), curves["level1"]["steps"]
    for name, title in (("vae", "VAE"), ("compressed", "few-channel VAE"), ("dino", "DINO-like")):
        other = np.array(curves[name]["psnr"])
        found[f"GLD to the final PSNR of the {title} latent"] = convergence(steps, gld, other)
        found[f"{title} latent to the final PSNR of GLD"] = convergence(steps, other, gld)
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


def write_report(folder: Path, plan: Plan, results: dict[str, Any], only: list[str], command: str) -> str:
    """Write report.json, report.html and the plots into `folder`; returns the tables as Markdown."""
    shown = tables(results, only)
    report: dict[str, Any] = {
        "command": command,
        "revision": git_revision(),
        "hardware": hardware(),
        "plan": asdict(plan),
        "parameters": results["parameters"],
        "tables": {table.key: asdict(table) | {"paper": PAPER[table.key]} for table in shown},
        "figures": {key: results[key] for key in ("curves", "systems", "references")},
    }
    if "a" in only:
        report["ratios"] = {title: asdict(ratio) for title, ratio in ratios(results).items()}
    write_json(folder / "report.json", report)
    summary = (
        f"{plan.size} px, {plan.rooms} rooms, {plan.representation_steps} steps of each encoder and "
        f"{plan.flow_steps} of each diffusion stage, batches of {plan.batch} scenes x 4 views (2 sources), "
        f"{plan.test_rooms} held-out rooms. Brackets: 95 % interval by resampling scenes; one training seed."
    )
    curves = curves_plot(folder / "plots" / "curves.png", results)
    first = [Part(lines=[summary], code=command), Part("PSNR against steps", picture=curves)]
    parts = [
        Part(
            table.title,
            lines=[f"Paper, full size: {PAPER[table.key]}.", *table.notes],
            columns=["", *table.columns],
            rows=[[name, *map(cell, cells)] for name, cells in table.rows.items()],
        )
        for table in shown
    ]
    counts = [[name, f"{count:,}"] for name, count in results["parameters"].items()]
    parts.append(Part("Parameters", columns=["network", "parameters"], rows=counts))
    machine = ", ".join(f"{name}: {value}" for name, value in report["hardware"].items())
    last = Part(lines=[f"{machine}; revision {report['revision']}"])
    write_page(folder / "report.html", f"gld reproduce --budget {plan.budget}", [*first, *parts, last])
    return markdown_page(parts)


def curves_plot(path: Path, results: dict[str, Any]) -> Path:
    """One line a variant; the 95 % intervals of GLD and of the VAE latent shaded."""
    with plot(path, (8, 5), xlabel="steps of the diffusion stage", ylabel="PSNR of the target views, dB") as axes:
        for name, curve in results["curves"].items():
            points = [mean(values) or {} for values in curve["psnr"]]
            if not points:
                continue
            means = [point["mean"] for point in points]
            (line,) = axes.plot(curve["steps"], means, marker="o", label=TITLES[name])
            if name in ("level1", "vae"):
                span = [[point[end] or point["mean"] for point in points] for end in ("low", "high")]
                axes.fill_between(curve["steps"], *span, color=line.get_color(), alpha=0.15)
        copy = mean(results["references"]["copy of the nearest source"]["psnr"]) or {}
        axes.axhline(copy["mean"], color="grey", linestyle="--", label="copy of the nearest source")
        axes.legend(fontsize="small")
    return path
