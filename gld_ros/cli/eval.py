# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval`: figures of a model on held-out views, beside the baselines on the same views."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from gld_ros.cli.options import Device, Dtype, Guidance, Json, ModelName, Offload, Steps, show, size_option
from gld_ros.errors import InvalidRequest

if TYPE_CHECKING:
    from gld_ros.evaluation.methods import Method
    from gld_ros.evaluation.settings import EvaluationSettings
    from gld_ros.pipeline import GLDPipeline

CLIPS = "With --data only"


def evaluate_model(
    model: ModelName,
    data: Annotated[
        list[str] | None, Option(metavar="KIND:PATH", help="data to evaluate on; repeatable (default: rooms)")
    ] = None,
    split: Annotated[
        str | None, Option(help="rooms: test (default) or val; --data: a file of names, or pixelSplat's index")
    ] = None,
    scenes: Annotated[int | None, Option(help="at most so many clips of each data set (200 rooms by default)")] = None,
    away: Annotated[bool, Option("--away", help="targets that look away from the sources")] = False,
    path: Annotated[
        int | None, Option(metavar="N", help="N poses on a path away from the sources: do neighbours agree?")
    ] = None,
    sources: Annotated[
        int, Option(help="views given, the first and last among them; as many as --views: all, asked for again")
    ] = 2,
    views: Annotated[
        int | None, Option(help="sources and targets of a clip (default: 8)", rich_help_panel=CLIPS)
    ] = None,
    gap: Annotated[int | None, Option(help="frames from view to view (default: 1)", rich_help_panel=CLIPS)] = None,
    clips: Annotated[int | None, Option(help="most clips of a scene (default: all)", rich_help_panel=CLIPS)] = None,
    size: Annotated[Any, size_option("with --data: the views are cropped and resized to it (default: as is)")] = None,
    source_depth: Annotated[
        bool, Option("--source-depth", help="give the sources their measured depth; rgb_alone is the model without")
    ] = False,
    official_scale: Annotated[
        bool, Option("--official-scale", help="align clouds with the scale of Gen3R's evaluation, not by least squares")
    ] = False,
    samples: Annotated[int | None, Option(help="samples of each view (default: 1; with --away 8)")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Annotated[int, Option(help="seed of the samples and of the intervals")] = 0,
    peer: Annotated[
        list[str] | None, Option(metavar="NAME=FOLDER", help="score FOLDER/SCENE/TARGET.png, too; repeatable")
    ] = None,
    against: Annotated[
        list[str] | None, Option(metavar="NAME=MODEL@STEPS", help="another model or other steps; repeatable")
    ] = None,
    lpips: Annotated[Path | None, Option(help="folder with the weights of LPIPS; without it LPIPS is left out")] = None,
    dino: Annotated[
        Path | None, Option(metavar="FILE", help="weights of DINO ViT-S/8, for MEt3R-style consistency")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = None,
    as_json: Json = False,
    out: Annotated[Path | None, Option(help="folder for report.json, report.html and contact sheets")] = None,
    save_views: Annotated[bool, Option("--save-views", help="write every picture into the folder, too")] = False,
) -> None:
    """Score a model on held-out views, beside the baselines."""
    options = locals()
    from gld_ros.evaluation.settings import EvaluationSettings

    del options["as_json"]
    lists = {"data": data or None, "peer": peer or [], "against": against or []}
    settings = EvaluationSettings.from_options(options | lists)
    if out:
        out.mkdir(parents=True, exist_ok=True)
    evaluate, print_report = evaluate_views, print_views
    if away:
        evaluate, print_report = evaluate_away, print_away
    elif path:
        evaluate, print_report = evaluate_path, print_path
    report, interrupted = evaluate(settings)
    if as_json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        print_report(report)
    raise Exit(130 if interrupted else 0)


def evaluate_views(settings: EvaluationSettings) -> tuple[dict[str, Any], bool]:
    """The report on the scenes that the settings name, and whether Ctrl-C ended it early. Writes what is asked for."""
    from gld_ros.data.scenes import Skipped
    from gld_ros.evaluation.methods import peer
    from gld_ros.evaluation.protocol import Protocol
    from gld_ros.evaluation.report import build_report, write_eval_page
    from gld_ros.evaluation.results import write_report
    from gld_ros.evaluation.sheets import Gallery
    from gld_ros.metrics.dino import Dino
    from gld_ros.metrics.lpips import LPIPS

    skipped = Skipped()
    scenes, total = settings.open_scenes(skipped)
    peers = [peer(*split_named("--peer", text, "FOLDER")) for text in settings.peer]
    rivals = [split_named("--against", text, "MODEL[@STEPS]") for text in settings.against]
    lpips = LPIPS.from_folder(settings.lpips) if settings.lpips else None
    dino = Dino.from_file(settings.dino) if settings.dino else None
    notices = [] if lpips else ["LPIPS is left out: no weights were given (--lpips FOLDER)"]
    notices += [] if dino else ["MEt3R-style consistency is left out: no weights were given (--dino FILE)"]
    pipe = open_model(settings.model, settings)
    dino = dino.to(pipe.device) if dino else None
    methods = [*own_methods(pipe, rivals, settings), *peers]
    gallery = Gallery(settings.out, save_views=settings.save_views) if settings.out else None
    with collect_warnings() as caught:
        protocol = Protocol(pipe, methods, settings.drawn, settings.seed, lpips, dino, gallery, settings.official_scale)
        found = protocol.evaluate(scenes, total)
    report = build_report(found, methods, pipe, settings.report(pipe.generator.preset("exact").steps), settings.seed)
    report["skipped"] = skipped.scenes
    report["notices"] = print_notices(caught, len(found.scenes), found.interrupted, notices)
    if settings.out and gallery:
        write_report(settings.out / "report.json", report)
        write_eval_page(settings.out / "report.html", report, gallery.write())
    return report, found.interrupted


def evaluate_away(settings: EvaluationSettings) -> tuple[dict[str, Any], bool]:
    """The report on views that look away from the sources, and whether Ctrl-C ended it early."""
    from gld_ros.evaluation import away
    from gld_ros.evaluation.methods import OwnDepth, model
    from gld_ros.evaluation.report import versions
    from gld_ros.evaluation.results import write_report
    from gld_ros.evaluation.scenes import away_scenes
    from gld_ros.evaluation.settings import ROOMS
    from gld_ros.evaluation.sheets import AwaySheet

    count, samples = settings.scenes or ROOMS, settings.drawn
    pipe = open_model(settings.model, settings)
    answer = model("model", pipe, steps=settings.steps, guidance_scale=settings.guidance, strict_scale=False).answer
    fill = OwnDepth(pipe).read_back
    sheet = AwaySheet() if settings.out else None
    with collect_warnings() as caught:
        scenes = away_scenes(settings.rooms_split, count)
        found = away.evaluate_away(scenes, answer, fill, samples, settings.seed, sheet, count)
    shown = settings.report(pipe.generator.preset("exact").steps)
    report: dict[str, Any] = {"model": pipe.name, "settings": shown, "versions": versions(pipe)}
    report |= away.away_figures(found, samples, settings.seed)
    report["notices"] = print_notices(caught, len(found.scenes), found.interrupted)
    if settings.out and sheet:
        write_report(settings.out / "report.json", report)
        sheet.write(settings.out / "away.png")
    return report, found.interrupted


def evaluate_path(settings: EvaluationSettings) -> tuple[dict[str, Any], bool]:
    """The report on the agreement of views along paths, and whether Ctrl-C ended it early."""
    from gld_ros.evaluation import paths
    from gld_ros.evaluation.report import versions
    from gld_ros.evaluation.results import write_report
    from gld_ros.evaluation.scenes import path_scenes
    from gld_ros.evaluation.settings import PATHS

    assert settings.path is not None
    count = settings.scenes or PATHS
    pipe = open_model(settings.model, settings)
    ways = paths.ways(pipe, steps=settings.steps, guidance_scale=settings.guidance, strict_scale=False)
    with collect_warnings() as caught:
        scenes = path_scenes(settings.rooms_split, count, settings.path)
        found = paths.evaluate_paths(scenes, ways, settings.seed, count)
    shown = settings.report(pipe.generator.preset("exact").steps)
    report: dict[str, Any] = {"model": pipe.name, "settings": shown, "versions": versions(pipe)}
    report |= paths.path_report(found, settings.seed)
    report["notices"] = print_notices(caught, len(found.scenes), found.interrupted)
    if settings.out:
        write_report(settings.out / "report.json", report)
    return report, found.interrupted


def open_model(name: str, settings: EvaluationSettings) -> GLDPipeline:
    """The pipeline of a model where the settings say."""
    from gld_ros.pipeline import GLDPipeline

    return GLDPipeline.from_pretrained(name, device=settings.device, dtype=settings.dtype, offload=settings.offload)


def own_methods(pipe: GLDPipeline, rivals: Sequence[tuple[str, str]], settings: EvaluationSettings) -> list[Method]:
    """The model with its baselines, then its rivals. A warning is enough where views contradict the poses."""
    from gld_ros.evaluation.methods import methods_for, model, rgb_alone

    options = {"steps": settings.steps, "guidance_scale": settings.guidance, "strict_scale": False}
    methods = methods_for(pipe, **options)
    if settings.source_depth:
        methods.insert(1, rgb_alone(pipe, **options))
    for name, other in rivals:
        folder, _, steps = other.partition("@")
        if steps and not steps.isdecimal():
            raise InvalidRequest(f"--against {name}={other}: {steps} steps, a number is expected")
        rival = open_model(folder, settings)
        methods.append(model(name, rival, steps=int(steps) if steps else None, strict_scale=False))
    return methods


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """A list that holds the texts of all user warnings at the end, each once."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts += sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})


def print_notices(caught: Sequence[str], scenes: int, interrupted: bool, others: Sequence[str] = ()) -> list[str]:
    """Print on stderr, and return, `others`, the warnings caught, and an interruption."""
    notices = [*others, *caught] + [f"interrupted after {scenes} scenes"] * interrupted
    for notice in notices:
        print(f"gld: notice: {notice}", file=sys.stderr)
    return notices


def split_named(option: str, text: str, value: str) -> tuple[str, str]:
    """("a", "b") of "a=b". Raises InvalidRequest for another text."""
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise InvalidRequest(f"{option} {text!r}: NAME={value} is expected")
    return name, rest


def print_views(report: dict[str, Any]) -> None:
    """A line a method: the main figures that there are, means over scenes; of all scenes, then of every group."""
    columns = {
        "PSNR": ("all", "psnr_db", 2),
        "obs.": ("observed", "psnr_db", 2),
        "unobs.": ("unobserved", "psnr_db", 2),
        "SSIM": ("all", "ssim", 3),
        "LPIPS": ("all", "lpips", 3),
        "sharp.": ("all", "sharpness", 2),
        "AbsRel": ("all", "depth_abs_rel", 3),
        "AbsRel obs.": ("observed", "depth_abs_rel", 3),
        "delta1": ("all", "depth_delta1", 3),
        "cover.": ("all", "depth_coverage_0.9", 3),
        "reproj.": ("all", "reprojection_px", 2),
        "MEt3R": ("all", "met3r", 3),
        "Chamfer %": ("all", "cloud_chamfer_percent", 2),
        "ATE": ("poses", "ate", 3),
        "AUC@30": ("poses", "auc_30", 3),
    }
    tables = report["methods"].values()
    columns = {
        title: (region, figure, digits)
        for title, (region, figure, digits) in columns.items()
        if any(figure in regions.get(region, {}) for regions in tables)
    }
    print(f"{report['model']}: {report['scenes']} scenes, {len(report['refused'])} refused")
    for group, methods in {"all": report["methods"], **report["groups"]}.items():
        rows = []
        for name, regions in methods.items():
            cells = [(regions.get(region, {}).get(figure), digits) for region, figure, digits in columns.values()]
            rows.append([name, *("" if value is None else f"{value['mean']:.{digits}f}" for value, digits in cells)])
        print()
        show([group, *(f">{title}" for title in columns)], rows)


def print_away(report: dict[str, Any]) -> None:
    """A line a figure, with its interval; then the distances of patches."""
    print(
        f"{report['model']}: {report['scenes']} scenes, {len(report['refused'])} refused, {report['samples']} samples; "
        f"{report['unobserved_share']:.0%} of the pixels unobserved; {report['seconds_per_view']:.2f} s a view"
    )
    figures = [
        (name, f"{value['mean']:.3f}", "" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]")
        for name, value in report["figures"].items()
    ]
    show(["figure", ">mean", "interval"], figures)
    rows = [(name, *(f"{value:.2f}" for value in values)) for name, values in report["patch_distance"].items()]
    show(["patch distance", *[">"] * max(len(row) - 1 for row in rows)], rows)


def print_path(report: dict[str, Any]) -> None:
    """A line a way to make the views, a column a figure: means over paths."""
    print(
        f"{report['model']}: {report['scenes']} paths of {report['settings']['path']} poses, "
        f"{len(report['refused'])} refused; {report['unobserved_share']:.0%} of the pixels unobserved"
    )
    names = list(report["definitions"])
    rows = [
        [way, *(f"{figures[name]['mean']:.3f}" if name in figures else "" for name in names)]
        for way, figures in report["ways"].items()
    ]
    show(["", *(f">{name}" for name in names)], rows)
