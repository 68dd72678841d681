# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld train`: stages of joint models from a configuration, and the embedded model from scratch."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from gld_ros.cli.extras import check_training_libraries

#: As in gld_ros.training.config, which imports torch.
STAGES = ("encoder", "rgb-decoder", "level1", "level0")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `gld train` and its subcommands."""
    parser = subparsers.add_parser("train", help="train a stage of a model; alone or under `accelerate launch`")
    commands = parser.add_subparsers(required=True, metavar="STAGE")
    for stage in STAGES:
        add_stage(commands, stage)
    add_mini(commands)


def add_stage(commands: argparse._SubParsersAction, stage: str) -> None:
    """Add `gld train STAGE`."""
    parser = commands.add_parser(stage, help=f"train {stage} of a model as a configuration says")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML; see config/train")
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="change a field, e.g. batch=4"
    )
    parser.add_argument("--run", dest="folder", type=Path, metavar="DIR", help="checkpoints and records; resumes there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the finished model (default: RUN/model)")
    parser.set_defaults(run=run_stage, stage=stage)


def add_mini(commands: argparse._SubParsersAction) -> None:
    """Add `gld train mini`."""
    parser = commands.add_parser("mini", help="train the embedded model on procedural rooms, from scratch or further")
    parser.add_argument("--start", metavar="MODEL", help="go on from this model (default: from scratch)")
    parser.add_argument(
        "--stages", help="comma-separated, of geometry,depth,cache,decoder,level1,level0 (default: all)"
    )
    parser.add_argument("--run", dest="folder", type=Path, default=Path("runs/mini"), help="checkpoints; resumes there")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/model"), help="folder of the finished model")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 where it is fast (default: fp32)")
    parser.add_argument("--processes", type=int, help="that make the cache on a CPU (default: 2)")
    parser.add_argument("--scenes", type=int, help="whose latents are kept on disk, 1.2 MB each (default: 40000)")
    for name in ("batch", "decoder-batch", "flow-batch"):
        parser.add_argument(f"--{name}", type=int)
    for stage in ("geometry", "depth", "decoder", "level1", "level0"):
        parser.add_argument(f"--{stage}-steps", type=int)
        parser.add_argument(f"--{stage}-rate", type=float)
    parser.set_defaults(run=run_mini)


def run_stage(args: argparse.Namespace) -> int:
    """Train, and write the model when the last step is done."""
    check_training_libraries()

    from gld_ros.training.config import load_config
    from gld_ros.training.data import open_data
    from gld_ros.training.engine import Engine
    from gld_ros.training.jobs import build

    config = load_config(args.config, args.changes, stage=args.stage)
    folder = args.folder or Path("runs") / args.config.stem
    out = args.out or folder / "model"
    job = build(config)
    engine = Engine(job.stage, config, folder)
    if engine.fit(open_data(config, folder)):
        job.write(out, engine.is_main)
    return tell(engine.is_main, engine.finished, folder, out)


def run_mini(args: argparse.Namespace) -> int:
    """Train the embedded model, all stages of it or some."""
    check_training_libraries()

    import torch

    from gld_ros.networks.configs import ModelConfig
    from gld_ros.networks.gld import GLDNetworks
    from gld_ros.training.mini import MiniTraining, train_mini
    from gld_ros.weights.hub import resolve
    from gld_ros.weights.loading import load_model
    from gld_ros.weights.verification import weights_of

    given = {f.name: getattr(args, f.name, None) for f in fields(MiniTraining)}
    start = resolve(args.start, local_files_only=True) if args.start else None
    given["start"] = " ".join(weights_of(start).values()) if start else ""
    if args.stages:
        given["stages"] = tuple(args.stages.split(","))
    plan = MiniTraining(**{k: v for k, v in given.items() if v is not None})
    torch.manual_seed(plan.seed)
    net = load_model(start, dtype=torch.float32) if start else GLDNetworks(ModelConfig())
    return tell(True, train_mini(args.folder, args.out, net, plan), args.folder, args.out)


def tell(main: bool, finished: bool, folder: Path, out: Path) -> int:
    """Say how the run ended, and what comes next."""
    if main and finished:
        print(f"model written to {out}")
    elif main:
        print(f"stopped early, saved in {folder}; the same command resumes")
    return 0
