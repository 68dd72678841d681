# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval`: figures of a model on held-out views, beside the baselines on the same views."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gld_ros.cli.synthesize import image_size

if TYPE_CHECKING:
    from gld_ros.data.skipped import Skipped
    from gld_ros.evaluation.scenes import Scene
    from gld_ros.pipeline import GLDPipeline

ROOMS = 200  # scenes of procedural rooms, by default
VIEWS, GAP = 8, 1  # of the clips of other data, by default


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("eval", help="score a model on held-out views, beside the baselines")
    parser.add_argument("model", help="name of a model or folder of its weights")
    parser.add_argument(
        "--data", action="append", metavar="KIND:PATH", help="data to evaluate on, may be repeated (default: rooms)"
    )
    parser.add_argument(
        "--split",
        help="of the rooms: test (default) or val; with --data: a split file (names, or pixelSplat's index)",
    )
    parser.add_argument("--scenes", type=int, help=f"at most so many clips of each data set ({ROOMS} rooms by default)")
    parser.add_argument(
        "--away",
        action="store_true",
        help="targets that look away from what the sources show, and figures of what is made up there",
    )
    parser.add_argument("--sources", type=int, default=2, help="views given, the first and last among them (default 2)")
    clips = parser.add_argument_group("with --data only")
    clips.add_argument("--views", type=int, help=f"views of a clip, sources and targets (default {VIEWS})")
    clips.add_argument("--gap", type=int, help=f"frames from one view of a clip to the next (default {GAP})")
    clips.add_argument("--clips", type=int, help="at most so many clips of one scene, evenly spread (default: all)")
    clips.add_argument("--size", type=image_size, help="WxH the views are cropped and resized to (default: as is)")
    parser.add_argument(
        "--samples", type=int, help="of the model, for best-of-K and its spread (default 1; with --away 8)"
    )
    parser.add_argument("--steps", type=int, help="sampling steps of each stage (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale, 1 = none (default: the model's)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and of the intervals (default 0)")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=FOLDER", help="score FOLDER/SCENE/TARGET.png, too"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=MODEL[@STEPS]",
        help="another model, or the same with other steps, beside it; may be repeated",
    )
    parser.add_argument("--lpips", type=Path, help="folder with the weights of LPIPS; without it LPIPS is left out")
    parser.add_argument(
        "--dino",
        type=Path,
        metavar="FILE",
        help="weights of DINO ViT-S/8; without them MEt3R-style consistency is left out",
    )
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the weights (default: the device's best)")
    parser.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON, not a table")
    parser.add_argument("--out", type=Path, help="folder for report.json, report.html and contact sheets")
    parser.add_argument("--save-views", action="store_true", help="write every picture into the folder, too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write what is asked for, print the figures."""
    from gld_ros.cli.eval_away import run_away
    from gld_ros.data.skipped import Skipped
    from gld_ros.errors import InvalidRequest
    from gld_ros.evaluation.methods import methods_for, model, peer
    from gld_ros.evaluation.protocol import evaluate
    from gld_ros.evaluation.report import build_report
    from gld_ros.evaluation.results import write_report
    from gld_ros.evaluation.sheets import Gallery
    from gld_ros.metrics.dino import Dino
    from gld_ros.metrics.lpips import LPIPS
    from gld_ros.pipeline import GLDPipeline
    from gld_ros.reports.html import write_html

    if args.save_views and not args.out:
        raise InvalidRequest("--save-views needs --out, the folder to write them to")
    if args.away:
        return run_away(args, _positive("scenes", args.scenes) or ROOMS)
    samples = 1 if args.samples is None else args.samples
    skipped = Skipped()
    scenes, total = _scenes(args, skipped)
    peers = [peer(*_named("--peer", text, "FOLDER")) for text in args.peer]
    others = [_named("--against", text, "MODEL[@STEPS]") for text in args.against]
    lpips = LPIPS.from_folder(args.lpips) if args.lpips else None
    dino = Dino.from_file(args.dino) if args.dino else None
    notices = [] if lpips else ["LPIPS is left out: no weights were given (--lpips FOLDER)"]
    notices += [] if dino else ["MEt3R-style consistency is left out: no weights were given (--dino FILE)"]
    pipe = GLDPipeline.from_pretrained(args.model, device=args.device, dtype=args.dtype, offload=args.offload)
    dino = dino.to(pipe.device) if dino else None
    # A warning is enough of views that contradict the poses: the figures tell.
    methods = methods_for(pipe, steps=args.steps, guidance_scale=args.guidance, strict_scale=False)
    for name, other in others:
        folder, _, steps = other.partition("@")
        if steps and not steps.isdecimal():
            raise InvalidRequest(f"--against {name}={other}: {steps} steps, a number is expected")
        rival = GLDPipeline.from_pretrained(folder, device=args.device, dtype=args.dtype, offload=args.offload)
        methods.append(model(name, rival, steps=int(steps) if steps else None, strict_scale=False))
    methods += peers
    gallery = None
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        gallery = Gallery(args.out, save_views=args.save_views)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = evaluate(pipe, scenes, methods, samples, args.seed, lpips, gallery, total, dino)
    settings = settings_of(args, pipe) | {"samples": samples, "split": args.split or (None if args.data else "test")}
    report = build_report(found, methods, pipe, settings, args.seed)
    report["skipped"] = skipped.scenes
    report["notices"] = print_notices(caught, len(found.scenes), found.interrupted, notices)
    if gallery:
        write_report(args.out / "report.json", report)
        write_html(args.out / "report.html", report, gallery.write())
    if args.json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        print_table(report)
    return 130 if found.interrupted else 0


def _scenes(args: argparse.Namespace, skipped: Skipped) -> tuple[Iterator[Scene], int | None]:
    """What to evaluate on, and how much that is where it is known."""
    from gld_ros.data.scenes import open_scenes
    from gld_ros.data.splits import read_split
    from gld_ros.errors import InvalidRequest
    from gld_ros.evaluation.rooms import SPLITS, room_scenes
    from gld_ros.evaluation.scenes import scenes_of

    for name in ("scenes", "views", "gap", "clips"):
        _positive(name, getattr(args, name))
    if not args.data:
        split = args.split or "test"
        if split not in SPLITS or args.sources != 2:
            raise InvalidRequest(
                f"--split {split}, --sources {args.sources}: without --data rooms are evaluated, "
                f"with 2 sources; their splits are {', '.join(SPLITS)}"
            )
        for name in ("views", "gap", "clips", "size"):
            if getattr(args, name) is not None:
                raise InvalidRequest(f"--{name}: without --data rooms are evaluated, which are as they are")
        return room_scenes(split, args.scenes or ROOMS), args.scenes or ROOMS
    entries = read_split(args.split) if args.split else None
    args.views, args.gap = args.views or VIEWS, args.gap or GAP
    size = None if args.size is None else (args.size[1], args.size[0])

    def all_of_them() -> Iterator[Scene]:
        taken: set[str] = set()  # figures, sheets and files go by the scene's name
        for spec in args.data:
            data = open_scenes(spec)
            group = Path(spec.partition(":")[2].partition("?")[0]).name or spec
            found = scenes_of(data, group, args.sources, args.views, args.gap, entries, size, skipped, args.clips)
            for scene in islice(found, args.scenes):
                if scene.name in taken:
                    scene = replace(scene, name=f"{group}_{scene.name}")
                if scene.name in taken:
                    raise InvalidRequest(f"{spec}: a scene {scene.name} was there before; give the folder another name")
                taken.add(scene.name)
                yield scene

    return all_of_them(), None


def _positive(option: str, value: int | None) -> int | None:
    from gld_ros.errors import InvalidRequest

    if value is not None and value < 1:
        raise InvalidRequest(f"--{option} {value}: at least 1 is expected")
    return value


def settings_of(args: argparse.Namespace, pipe: GLDPipeline) -> dict[str, Any]:
    """The options of a run as a report repeats them."""
    settings = {key: _plain(value) for key, value in vars(args).items() if key not in ("run", "json", "command")}
    settings["size"] = args.size and "{1}x{0}".format(*args.size)
    settings["steps"] = args.steps or pipe.net.config.flow.steps
    return settings


def print_notices(
    caught: Sequence[warnings.WarningMessage], scenes: int, interrupted: bool, others: Sequence[str] = ()
) -> list[str]:
    """Tell on stderr of `others`, of the warnings caught, and of an interruption; all of them, for the report."""
    notices = [*others, *sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})]
    notices += [f"interrupted after {scenes} scenes"] * interrupted
    for notice in notices:
        print(f"gld: notice: {notice}", file=sys.stderr)
    return notices


def _named(option: str, text: str, what: str) -> tuple[str, str]:
    from gld_ros.errors import InvalidRequest

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InvalidRequest(f"{option} {text!r}: NAME={what} is expected")
    return name, value


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def print_table(report: dict[str, Any]) -> None:
    """A line a method: the main figures that there are, means over scenes; of all of them, then of every group."""
    columns = {
        "PSNR": ("all", "psnr_db", 2),
        "obs.": ("observed", "psnr_db", 2),
        "unobs.": ("unobserved", "psnr_db", 2),
        "SSIM": ("all", "ssim", 3),
        "LPIPS": ("all", "lpips", 3),
        "sharp.": ("all", "sharpness", 2),
        "AbsRel": ("all", "depth_abs_rel", 3),
        "delta1": ("all", "depth_delta1", 3),
        "reproj.": ("all", "reprojection_px", 2),
        "MEt3R": ("all", "met3r", 3),
        "ATE": ("poses", "ate", 3),
    }
    tables = report["methods"].values()
    columns = {
        title: (region, figure, digits)
        for title, (region, figure, digits) in columns.items()
        if any(figure in regions.get(region, {}) for regions in tables)
    }
    print(f"{report['model']}: {report['scenes']} scenes, {len(report['refused'])} refused")
    for group, methods in {"all": report["methods"], **report["groups"]}.items():
        print(f"\n{group:20}" + "".join(f"{title:>9}" for title in columns))
        for name, regions in methods.items():
            cells = [(regions.get(region, {}).get(figure), digits) for region, figure, digits in columns.values()]
            texts = ["" if value is None else f"{value['mean']:.{digits}f}" for value, digits in cells]
            print(f"{name:20}" + "".join(f"{text:>9}" for text in texts))
