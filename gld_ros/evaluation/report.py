# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report of `gld eval`, one JSON object, and its page; the reliability diagram of `gld calibrate-confidence`."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gld_ros
from gld_ros.evaluation.methods import Method
from gld_ros.evaluation.protocol import REAL, Outcome, SceneResult
from gld_ros.evaluation.scores import MIN_REGION, PCK_SHARE, RIGHT
from gld_ros.metrics.uncertainty import estimate, expected_coverage
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.reports.pages import Part, estimate_lines, plot, write_page
from gld_ros.reports.provenance import git_revision

#: Figures: (method, region) -> figure -> scene -> value.
Values = dict[tuple[str, str], dict[str, dict[str, float]]]

#: Definitions of the figures by the beginning of their names; the longest that fits holds.
DEFINITIONS = {
    "psnr_db": "PSNR of 8-bit images, dB",
    "ssim": "SSIM, 11-pixel Gaussian window of sigma 1.5, mean over channels",
    "lpips": "LPIPS (VGG-16, version 0.1)",
    "sharpness": "gradient energy over that of the real view; 1 = as much detail",
    "depth_abs_rel": "mean |depth - true| / true; no ending: metric depth as it is, _median: after the ratio of "
    "the medians, _scale_shift: after least squares of scale and shift",
    "depth_delta1": "share of depths within a factor of 1.25",
    "depth_rmse": "root mean square depth error, in the unit of the data",
    "depth_ause": "area under the sparsification error of |log depth error| ranked by confidence; 0 = perfect ranking",
    "depth_calibration_error": f"expected calibration error of the confidence that depth is right within {RIGHT:.0%}, "
    "of each view alone: its pixels err together, so it is not 0 of a calibrated model; see gld calibrate-confidence",
    "depth_coverage_0.9": "share of true depths within a calibrated model's 90 % interval; 0.9 is honest in the mean "
    "over many views, see gld calibrate-confidence",
    "depth_width_0.9": "median width of that interval over the depth",
    "sample_spread": "standard deviation of the samples' grey levels, 0..1",
    "sample_ause": "area under the sparsification error of the mean sample's error ranked by the samples' spread",
    "sample_coverage": "share of true grey levels within the range of the samples",
    "points_": "mean distance to the nearest point, in the unit of the data: accuracy made -> true, completeness "
    "true -> made, chamfer their mean; over pixels with true depth",
    "cloud_": "the same after a similarity brought the made points to the true ones (least squares, or Gen3R's scale), "
    "as Gen3R's evaluation: both thinned by voxels of a thousandth of the true cloud's diagonal, and to 20,000 points "
    "at random; _percent: of that diagonal. The cloud is that of all targets with true depth, at the poses that their "
    "views imply where the method says so, or else at those asked for",
    "reprojection_px": "median reprojection error (Sampson) of SIFT matches with the sources at the known cameras, "
    "pixels; views with fewer than 8 matches are left out",
    "met3r": "MEt3R-style: 1 - cosine similarity of DINO ViT-S/8 features where two views show the same points, mean "
    "over each target with its nearest source and its nearest target, both ways; 0 = consistent. By known poses, the "
    "method's own depth of the targets, and of the sources the true depth or else the model's: not for comparison with "
    "published MEt3R, whose geometry is DUSt3R's",
    "met3r_sources": "the same of the pairs with a source",
    "met3r_targets": "the same of the pairs of targets",
    "met3r_share": "share of the pixels that the views of a pair share by these depths: what the above says nothing "
    "about is the rest",
    "ate": "RMS distance of camera centres after Sim(3) alignment, in the unit of the data",
    "rpe_translation": "RMS error of the translation from one target to the next after Sim(3) alignment",
    "rpe_rotation_deg": "RMS error of the rotation from one target to the next, degrees",
    "rra_30": "share of pairs of targets with relative rotation right within 30 degrees",
    "rta_30": "share with the direction of the baseline right within 30 degrees, either way along it",
    "auc_30": "mean over 1, 2, ... 30 degrees of the share of pairs where both are right within that",
}


def build_report(
    found: Outcome[SceneResult], methods: Sequence[Method], pipe: GLDPipeline, settings: dict[str, Any], seed: int = 0
) -> dict[str, Any]:
    """The whole report; every figure is {mean, low, high, count} over scenes, 95 % by bootstrap.

    settings: of the run, to be repeated in it; `samples` is read from it.
    """
    scenes, values = found.scenes, collected(found.scenes)
    groups = list(dict.fromkeys(scene.group for scene in scenes))
    notes = {method.name: method.note for method in methods}
    if any(method == REAL for method, _ in values):
        notes[REAL] = "the left-out views themselves"
    observed, unobserved = np.mean([scene.shares for scene in scenes], axis=0).tolist()
    report: dict[str, Any] = {
        "model": pipe.name,
        "settings": settings,
        "versions": versions(pipe),
        "scenes": len(scenes),
        "targets": sum(scene.targets for scene in scenes),
        "refused": found.refusals(),
        "missing": [f"{method}: {picture}" for scene in scenes for method, picture in scene.missing],
        "observed_by": dict(Counter(scene.observed_by for scene in scenes)),
        "observed_share": observed,
        "unobserved_share": unobserved,
        "smallest_region_px": MIN_REGION,
        "methods": {name: {"note": note, **_table(values, name, seed)} for name, note in notes.items()},
        "groups": {},
        "model_minus": differences(values, list(notes), seed),
        "definitions": DEFINITIONS,
        "poses": _poses_note(scenes, pipe),
    }
    for name in scenes[0].seconds:
        seconds = [taken for scene in scenes for taken in scene.seconds[name]]
        report["methods"][name]["seconds_per_view"] = float(np.median(seconds))
    if len(groups) > 1:
        for group in groups:
            rows = collected([scene for scene in scenes if scene.group == group])
            report["groups"][group] = {name: _table(rows, name, seed) for name in notes}
    if levels := [scene.levels for scene in scenes if scene.levels is not None]:
        report["levels_pck"] = {
            "share_of_longer_side": PCK_SHARE,
            "levels": [_estimate(shares, seed) for shares in zip(*levels, strict=True)],
        }
    if settings.get("samples", 1) > 1:
        report["expected_coverage"] = expected_coverage(settings["samples"])
    return report


def collected(scenes: Sequence[SceneResult]) -> Values:
    """The figures of all scenes: (method, region) -> figure -> scene -> value."""
    found: Values = {}
    for scene in scenes:
        for key, figures in scene.rows.items():
            for figure, value in figures.items():
                found.setdefault(key, {}).setdefault(figure, {})[scene.name] = value
    return found


def differences(values: Values, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """The first method's figures minus every other's on the same scenes: method -> region -> figure -> estimate."""
    found: dict[str, Any] = {name: {} for name in names[1:]}
    for (method, region), figures in values.items():
        own = {} if method == names[0] else values.get((names[0], region), {})
        for figure, others in figures.items():
            # The best of several samples is compared with the one picture that a baseline has.
            for own_figure in (figure, f"{figure}_best"):
                shared = [value - others[scene] for scene, value in own.get(own_figure, {}).items() if scene in others]
                if shared:
                    found[method].setdefault(region, {})[own_figure] = _estimate(shared, seed)
    return found


def versions(pipe: GLDPipeline) -> dict[str, str]:
    """Versions and device that the figures may depend on."""
    device = torch.cuda.get_device_name(pipe.device) if pipe.device.type == "cuda" else platform.processor()
    return {
        "gld_ros": gld_ros.__version__,
        "git": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": f"{pipe.device} {device or platform.machine()}",
    }


def _table(values: Values, method: str, seed: int) -> dict[str, Any]:
    """region -> figure -> estimate of one method."""
    return {
        region: {figure: _estimate(list(by_scene.values()), seed) for figure, by_scene in figures.items()}
        for (name, region), figures in values.items()
        if name == method
    }


def _estimate(values: Sequence[float], seed: int) -> dict[str, Any]:
    return asdict(estimate(np.array(values), seed=seed))


def _poses_note(scenes: Sequence[SceneResult], pipe: GLDPipeline) -> str:
    scored = any(region == "poses" for scene in scenes for _, region in scene.rows)
    if not pipe.generator.has_rays:
        if scored:
            return "of the targets, as the generated views of each method imply them"
        return f"not scored: the views are of the poses asked for, and '{pipe.name}' has no ray head to estimate others"
    if not scored:
        return "left out: at least 2 targets a scene are needed (3 for ATE and RPE), and rays that are a camera's"
    text = (
        f"of the targets, estimated from the pictures by the rays of the encoder of '{pipe.name}', sources beside them"
    )
    failures = "; ".join(f"{where}: {reason}" for scene in scenes for where, reason in scene.pose_failures)
    return text + (f"; failed: {failures}" if failures else "")


REGIONS = {"all": "all pixels", "observed": "observed pixels", "unobserved": "unobserved pixels", "poses": "poses"}


def write_eval_page(path: Path, report: dict[str, Any], sheets: Sequence[tuple[str, Path]]) -> None:
    """Write `report` (`report.build_report`) with its `sheets` (title, PNG file)."""
    details = {"settings": report["settings"], "versions": report["versions"]}
    parts = [Part(lines=_summary(report), code=json.dumps(details, indent=1))]
    parts += _tables(report["methods"], scenes=report["scenes"])
    parts += [Part("Model minus method, same scenes"), *_tables(report["model_minus"], level=3)]
    for group, methods in report["groups"].items():
        parts += [Part(f"Only {group}"), *_tables(methods, level=3)]
    if levels := report.get("levels_pck"):
        title, text = "Correspondence of the encoder's levels", "PCK within {:g} of the longer side"
        cells = [estimate_lines(level) for level in levels["levels"]]
        columns = ["level 0", "1", "2", "3"]
        parts.append(Part(title, lines=[text.format(levels["share_of_longer_side"])], columns=columns, rows=[cells]))
    parts += [Part(title, picture=sheet) for title, sheet in sheets]
    notes = {name: figures["note"] for name, figures in report["methods"].items()}
    parts.append(Part("Definitions of the figures", terms=report["definitions"] | notes))
    parts.append(Part(lines=[f"Poses: {report['poses']}."]))
    write_page(path, f"gld eval {report['model']}", parts)


def _summary(report: dict[str, Any]) -> list[str]:
    observed = ", ".join(f"{by} ({count} scenes)" for by, count in report["observed_by"].items())
    lines = [f"{report['scenes']} scenes, {report['targets']} targets. Observed pixels are told by {observed}."]
    shares = report["observed_share"], report["unobserved_share"]
    lines.append(f"{shares[0]:.1%} of the pixels are observed, {shares[1]:.1%} unobserved, the others unknown.")
    lines += [f"Refused: {entry['scene']}: {entry['reason']}" for entry in report["refused"]]
    lines += [f"Skipped: {name}: {reason}" for name, reason in report.get("skipped", {}).items()]
    lines += [f"Missing picture: {name}" for name in report["missing"]]
    lines += [f"Notice: {notice}" for notice in report.get("notices", [])]
    return [*lines, "Means over scenes; small: 95 % interval by resampling scenes."]


def _tables(methods: dict[str, Any], level: int = 2, scenes: int | None = None) -> list[Part]:
    """A table a region: a row a method, a column a figure. scenes: figures over fewer name their number."""
    parts = []
    for region, title in REGIONS.items():
        found = {name: figures[region] for name, figures in methods.items() if region in figures}
        columns = list(dict.fromkeys(figure for figures in found.values() for figure in figures))
        rows = [
            [name, *(estimate_lines(figures.get(column), scenes) for column in columns)]
            for name, figures in found.items()
        ]
        if rows:
            parts.append(Part(title, level, columns=["", *columns], rows=rows))
    return parts


def reliability_diagram(path: Path, report: dict[str, Any]) -> None:
    """Plot how often depth is right against the stated confidence, and the covered share against the nominal one.

    report: of `confidence_fit.check`. Raises InvalidRequest without matplotlib.
    """
    with plot(path, (9, 4.5), columns=2) as (left, right):
        for name, colour in (("observed", "tab:blue"), ("generated", "tab:orange")):
            curve = report[name]["reliability"]
            stated = [row["confidence"] for row in curve]
            label = f"{name}, ECE {report[name]['ece']:.3f}" if curve else f"{name}: no pixels"
            left.plot(stated, [row["right"] for row in curve], "o-", color=colour, label=label)
            shares = [row["count"] / sum(row["count"] for row in curve) for row in curve]
            left.bar(stated, shares, width=0.03, color=colour, alpha=0.3)
            covered = report[name].get("coverage", {})
            right.plot(
                [float(level) for level in covered], [row["share"] for row in covered.values()], "o-", color=colour
            )
        for axes in (left, right):
            axes.plot((0, 1), (0, 1), ":", color="gray")
            axes.set(xlim=(0, 1), ylim=(0, 1))
        left.set(xlabel="confidence (bars: share of the pixels)", ylabel="share right within 10 %")
        right.set(xlabel="nominal coverage of the depth interval", ylabel="covered share")
        left.legend()
