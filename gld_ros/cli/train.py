"""`gld train`: the embedded model from scratch."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("train", help="train the embedded model from scratch on procedural rooms")
    parser.add_argument("model", choices=("mini",))
    parser.add_argument("--run", dest="folder", type=Path, default=Path("runs/mini"), help="checkpoints; resumes there")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/model"), help="folder of the finished model")
    parser.add_argument("--device")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--geometry-steps", type=int)
    parser.add_argument("--diffusion-steps", type=int)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import torch

    from gld_ros.models.configs import ModelConfig
    from gld_ros.training.mini import MiniTraining, train_mini

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    given = {f.name: getattr(args, f.name, None) for f in fields(MiniTraining)}
    plan = MiniTraining(**{k: v for k, v in given.items() if v is not None})
    finished = train_mini(args.folder, args.out, ModelConfig(), plan, device)
    if not finished:
        print(f"stopped early; the same command resumes from {args.folder}")
        return 0
    print(f"model written to {args.out}; try: gld eval {args.out}")
    return 0
