# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld train`: stages of joint models from a configuration, and the embedded model from scratch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from gld_ros.cli.options import DeviceKind
from gld_ros.extras import require

app = Typer(help="Train a stage of a model; alone or under `accelerate launch`.", no_args_is_help=True)


def add_stage(stage: str) -> None:
    """Add `gld train STAGE`."""

    @app.command(stage, help=f"Train {stage} of a model as a configuration says.")
    def train_stage(
        config: Annotated[Path, Option(metavar="FILE", help="YAML; see config/train")],
        changes: Annotated[
            list[str] | None, Option("--set", metavar="KEY=VALUE", help="change a field, e.g. batch=4; repeatable")
        ] = None,
        run: Annotated[Path | None, Option(metavar="DIR", help="checkpoints and records; resumes there")] = None,
        out: Annotated[Path | None, Option(metavar="DIR", help="the finished model (default: RUN/model)")] = None,
    ) -> None:
        require("train", "training")

        from gld_ros.training.config import load_config
        from gld_ros.training.stages import Job

        settings = load_config(config, changes or [], stage=stage)
        folder = run or Path("runs") / config.stem
        model = out or folder / "model"
        job = Job(settings)
        engine = job.fit(folder)
        if engine.finished:
            job.write(model, engine.is_main)
        if engine.is_main:
            print_end(engine.finished, folder, model)


for name in ("encoder", "rgb-decoder", "level1", "level0", "gen3r-adapter", "gen3r-dit"):
    add_stage(name)

StepsOf = Annotated[int | None, Option(help="steps of this stage")]
RateOf = Annotated[float | None, Option(help="its learning rate")]


@app.command("mini")
def train_mini_model(
    start: Annotated[str | None, Option(metavar="MODEL", help="go on from this model (default: from scratch)")] = None,
    stages: Annotated[
        str | None, Option(help="of geometry,depth,cache,decoder,level1,level0,generated (default: all)")
    ] = None,
    run: Annotated[Path, Option(help="checkpoints; resumes there")] = Path("runs/mini"),
    out: Annotated[Path, Option(help="folder of the finished model")] = Path("runs/mini/model"),
    device: DeviceKind = "auto",
    precision: Annotated[Literal["fp32", "bf16"] | None, Option(help="bf16 where it is fast (default: fp32)")] = None,
    processes: Annotated[int | None, Option(help="processes that make the cache on a CPU (default: 2)")] = None,
    scenes: Annotated[int | None, Option(help="scenes of the cache, 1.2 MB each (default: 40000)")] = None,
    batch: Annotated[int | None, Option(help="scenes of a step")] = None,
    decoder_batch: Annotated[int | None, Option(help="the same of the stage decoder")] = None,
    flow_batch: Annotated[int | None, Option(help="the same of the stages level1 and level0")] = None,
    geometry_steps: StepsOf = None,
    geometry_rate: RateOf = None,
    depth_steps: StepsOf = None,
    depth_rate: RateOf = None,
    decoder_steps: StepsOf = None,
    decoder_rate: RateOf = None,
    level1_steps: StepsOf = None,
    level1_rate: RateOf = None,
    level0_steps: StepsOf = None,
    level0_rate: RateOf = None,
    generated_batch: Annotated[int | None, Option(help="scenes of a step of the stage generated")] = None,
    generated_steps: StepsOf = None,
    generated_rate: RateOf = None,
    flow_optimizer: Annotated[
        Literal["muon", "adamw"] | None, Option(help="optimiser of the stages level1 and level0 (default: muon)")
    ] = None,
    compiled: Annotated[
        bool, Option("--compile/--no-compile", help="compile the blocks of the stages level1 and level0 on a CPU")
    ] = True,
) -> None:
    """Train the embedded model on procedural rooms, from scratch or further."""
    options = locals()
    require("train", "training")

    import torch

    from gld_ros.networks.configs import ModelConfig
    from gld_ros.networks.gld import GLDNetworks
    from gld_ros.training.mini import MiniTraining, train_mini
    from gld_ros.weights.hub import resolve
    from gld_ros.weights.loading import load_model
    from gld_ros.weights.verification import weights_of

    folder = resolve(start, local_files_only=True) if start else None
    options["start"] = " ".join(weights_of(folder).values()) if folder else ""
    options["stages"] = tuple(stages.split(",")) if stages else None
    known = {field.name for field in fields(MiniTraining)}
    plan = MiniTraining(**{name: value for name, value in options.items() if name in known and value is not None})
    torch.manual_seed(plan.seed)
    net = load_model(folder, dtype=torch.float32) if folder else GLDNetworks(ModelConfig())
    print_end(train_mini(run, out, net, plan), run, out)


def print_end(finished: bool, folder: Path, out: Path) -> None:
    """Say how the run ended, and what comes next."""
    print(f"model written to {out}" if finished else f"stopped early, saved in {folder}; the same command resumes")
