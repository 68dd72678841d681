# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report of `gld eval`, one JSON object: means with intervals, paired differences, settings and versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import gld_ros
from gld_ros.evaluation.encoder_figures import PCK_SHARE
from gld_ros.evaluation.methods import Method
from gld_ros.evaluation.protocol import REAL, Evaluation, Row
from gld_ros.evaluation.scores import MIN_REGION, RIGHT
from gld_ros.metrics.bootstrap import estimate
from gld_ros.metrics.uncertainty import expected_coverage
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.reports.provenance import git_revision

#: Definitions of the figures by the beginning of their names; the longest that fits holds.
DEFINITIONS = {
    "psnr_db": "PSNR of 8-bit images, dB",
    "ssim": "SSIM, 11-pixel Gaussian window of sigma 1.5, mean over channels",
    "lpips": "LPIPS (VGG-16, version 0.1)",
    "sharpness": "gradient energy over that of the real view; 1 = as much detail",
    "depth_abs_rel": "mean |depth - true| / true; no ending: metric depth as it is, _median: after the ratio of the "
    "medians, "
    "_scale_shift: after least squares of scale and shift",
    "depth_delta1": "share of depths within a factor of 1.25",
    "depth_rmse": "root mean square depth error, in the unit of the data",
    "depth_ause": "area under the sparsification error of |log depth error| ranked by confidence; 0 = perfect ranking",
    "depth_calibration_error": f"expected calibration error of the confidence that depth is right within {RIGHT:.0%}, "
    "of each view alone: its pixels err together, so it is not 0 of a calibrated model; see gld calibrate-confidence",
    "sample_spread": "standard deviation of the samples' grey levels, 0..1",
    "sample_ause": "area under the sparsification error of the mean sample's error ranked by the samples' spread",
    "sample_coverage": "share of true grey levels within the range of the samples",
    "points_": "mean distance to the nearest point, in the unit of the data: accuracy made -> true, completeness "
    "true -> made, chamfer their mean; over pixels with true depth",
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
}


def build_report(
    found: Evaluation, methods: Sequence[Method], pipe: GLDPipeline, settings: dict[str, Any], seed: int = 0
) -> dict[str, Any]:
    """The whole report; every figure is {mean, low, high, count} over scenes, 95 % by bootstrap.

    settings: of the run, to be repeated in it; `samples` is read from it.
    """
    groups = list(dict.fromkeys(group for _, group, _ in found.scenes))
    names = [method.name for method in methods] + [REAL] * any(row.method == REAL for row in found.rows)
    report: dict[str, Any] = {
        "model": pipe.name,
        "settings": settings,
        "versions": versions(pipe),
        "scenes": len(found.scenes),
        "targets": sum(targets for _, _, targets in found.scenes),
        "refused": [{"scene": scene, "reason": reason} for scene, reason in found.refused],
        "missing": [f"{method}: {picture}" for method, picture in found.missing],
        "observed_by": {by: list(found.observed_by.values()).count(by) for by in set(found.observed_by.values())},
        "observed_share": float(np.mean([observed for observed, _ in found.shares.values()])),
        "unobserved_share": float(np.mean([unobserved for _, unobserved in found.shares.values()])),
        "smallest_region_px": MIN_REGION,
        "methods": {
            name: {
                "note": next((m.note for m in methods if m.name == name), "the left-out views themselves"),
                **_table(found.rows, name, seed),
            }
            for name in names
        },
        "groups": {},
        "model_minus": differences(found.rows, names, seed),
        "definitions": DEFINITIONS,
        "poses": _poses_note(found, pipe),
    }
    for name in dict(found.seconds_per_view):
        seconds = [taken for method, taken in found.seconds_per_view if method == name]
        report["methods"][name]["seconds_per_view"] = float(np.median(seconds))
    if len(groups) > 1:
        for group in groups:
            rows = [row for row in found.rows if row.group == group]
            report["groups"][group] = {name: _table(rows, name, seed) for name in names}
    if found.levels:
        table = np.array(found.levels)
        report["levels_pck"] = {
            "share_of_longer_side": PCK_SHARE,
            "levels": [asdict(estimate(table[:, k], seed=seed)) for k in range(table.shape[1])],
        }
    if settings.get("samples", 1) > 1:
        report["expected_coverage"] = expected_coverage(settings["samples"])
    return report


def differences(rows: Sequence[Row], names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """The first method's figures minus every other's on the same scenes: method -> region -> figure -> estimate."""
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        for figure, value in row.figures.items():
            values.setdefault((row.method, row.region, figure), {})[row.scene] = value
    found: dict[str, Any] = {name: {} for name in names[1:]}
    for (method, region, figure), others in values.items():
        # The best of several samples is compared with the one picture that a baseline has.
        for own_figure in (figure, f"{figure}_best"):
            own = values.get((names[0], region, own_figure), {})
            shared = [own[scene] - others[scene] for scene in own if scene in others]
            if method != names[0] and shared:
                estimated = asdict(estimate(np.array(shared), seed=seed))
                found[method].setdefault(region, {})[own_figure] = estimated
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


def _table(rows: Sequence[Row], method: str, seed: int) -> dict[str, Any]:
    """region -> figure -> estimate of one method."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.method == method:
            for figure, value in row.figures.items():
                values.setdefault(row.region, {}).setdefault(figure, []).append(value)
    return {
        region: {figure: asdict(estimate(np.array(found), seed=seed)) for figure, found in figures.items()}
        for region, figures in values.items()
    }


def _poses_note(found: Evaluation, pipe: GLDPipeline) -> str:
    if not pipe.generator.has_rays:
        return f"left out: '{pipe.name}' has no ray head to estimate poses with"
    if not any(row.region == "poses" for row in found.rows):
        return "left out: at least 3 targets a scene are needed, and rays that are a camera's"
    text = (
        f"of the targets, estimated from the pictures by the rays of the encoder of '{pipe.name}', sources beside them"
    )
    failures = "; ".join(f"{where}: {reason}" for where, reason in found.pose_failures)
    return text + (f"; failed: {failures}" if failures else "")
