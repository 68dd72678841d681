"""`gld eval`: figures of a model on held-out procedural rooms, beside the baselines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("eval", help="score a model on held-out procedural rooms, beside the baselines")
    parser.add_argument("model", help="'mini' or a model folder")
    parser.add_argument("--split", choices=("test", "val"), default="test")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, help="sampling steps of each stage (default: the model's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON, not a table")
    parser.add_argument("--out", type=Path, help="write the report there as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from gld_ros.evaluation.rooms import evaluate_rooms
    from gld_ros.pipeline import GLDPipeline

    pipe = GLDPipeline.from_pretrained(args.model, args.device)
    report = evaluate_rooms(pipe, args.split, args.scenes, steps=args.steps, seed=args.seed)
    text = json.dumps(report, indent=1)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")
    if args.json:
        print(text)
        return 0
    print(f"{'':18}{'PSNR':>7}{'obs.':>7}{'unobs.':>7}{'SSIM':>7}{'AbsRel':>8}")
    for name, figures in {report["model"]: report, **report["baselines"]}.items():
        regions = [figures[r]["psnr_db"] for r in ("observed", "unobserved")]
        row = [figures["psnr_db"], *regions]
        print(
            f"{name:18}" + "".join(f"{x:7.2f}" for x in row) + f"{figures['ssim']:7.3f}{figures['depth_abs_rel']:8.3f}"
        )
    return 0
