# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every stage of training by name, and the way from a configuration to a stage with its data, and to a model folder."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gld_ros.data.room_clips import RoomClips
from gld_ros.diffusion.flow import NOISELESS
from gld_ros.errors import InvalidRequest
from gld_ros.metrics.lpips import LPIPS
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.latents import SPACE, latent_frames
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gen3r.transformer import JointTransformer
from gld_ros.networks.gld import BOUNDARY, GLDNetworks
from gld_ros.reports.provenance import git_revision
from gld_ros.training.adversarial import adversary
from gld_ros.training.checkpoint import full
from gld_ros.training.config import TrainConfig, plain
from gld_ros.training.data import Mixed, Numbered, Rooms
from gld_ros.training.decoder_stage import DecoderStage
from gld_ros.training.depth_stage import DepthStage
from gld_ros.training.distillation import DistillationStage, few_step_flow
from gld_ros.training.engine import Engine
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.gen3r_stages import AdapterStage, JointStage
from gld_ros.training.generated_stage import GeneratedStage
from gld_ros.training.image_stages import EncoderStage, GeometryStage, RGBDecoderStage
from gld_ros.training.latent_cache import CachedLatents
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.stage import Stage, TrainingData
from gld_ros.training.warped_flow import WarpedFlowStage, compile_blocks
from gld_ros.weights.folder import on_meta
from gld_ros.weights.hub import resolve
from gld_ros.weights.loading import load_model, load_networks, save_model
from gld_ros.weights.text_states import TextStates, copy_prompts

#: Lines of `data` that stand alone. Fresh procedural rooms of two sources and two targets; a number after the colon is
#: that of the first one. Cached latents, whose folder is relative to that of the run.
ROOMS, CACHE = "fresh-rooms:", "cache:"
#: The same for clips of rooms, of as many frames as `views` says.
CLIPS = "room-clips:"


Networks = GLDNetworks | Gen3RNetworks


class Job:
    """A stage of a configuration, and the whole model that its networks are part of.

    net: the model, which the stage trains in place; None: as `networks` says, with fresh weights drawn from the seed.
    Raises InvalidRequest and ModelError.
    """

    def __init__(self, config: TrainConfig, net: Networks | None = None):
        if config.stage not in STAGES:
            raise InvalidRequest(f"stage is '{config.stage}', expected one of {', '.join(STAGES)}")
        if net is None:
            torch.manual_seed(config.seed)
            net = networks(config)
        self.config, self.net, self.stage = config, net, STAGES[config.stage].make(net, config)

    def fit(self, folder: Path) -> Engine:
        """Train on the configuration's data, with checkpoints in `folder`. Returns the engine, done or interrupted."""
        engine = Engine(self.stage, self.config, folder)
        if self.config.compiled and isinstance(self.stage, WarpedFlowStage) and engine.accelerator.device.type == "cpu":
            compile_blocks(self.stage.dit)
        engine.fit(open_data(self.config, folder, self.stage.fields))
        return engine

    def write(self, folder: Path, main: bool = True) -> None:
        """Write the whole model, float32, and how it was trained; all processes have to call this, `main` writes."""
        state = {key: full(value) for key, value in self.net.state_dict().items()}
        if isinstance(self.stage, FlowStage) and isinstance(self.stage.space, GeometricLatents):
            measured = {name: full(value) for name, value in self.stage.space.statistics().items()}
            state |= {name: value for name, value in measured.items() if name in state}
        if main:
            whole = on_meta(self.net.config)
            whole.load_state_dict(state, assign=True)
            save_model(folder, whole, torch.float32)
            if self.config.stage in GEN3R:
                copy_prompts(resolve(self.config.start, local_files_only=True), folder)
            history = {"config": plain(self.config), "revision": git_revision()}
            (folder / "training.json").write_text(json.dumps(history, indent=1) + "\n")


def networks(config: TrainConfig) -> Networks:
    """The whole model: networks of `start` but for those to be trained, which are new (but see `fine_tune`)."""
    trained = STAGES[config.stage].trains
    if config.stage in GEN3R:
        return gen3r_networks(config)
    if not config.start:
        if "encoder" not in trained:
            raise InvalidRequest(f"stage {config.stage} trains on a frozen encoder: give its model folder as start=")
        return GLDNetworks(config.model_config())
    given = load_model(resolve(config.start, local_files_only=True))
    net = GLDNetworks(config.model_config(given.config))
    new = () if config.fine_tune else trained
    wanted = net.state_dict()
    state = {k: v for k, v in given.state_dict().items() if k.split(".")[0] not in new and k in wanted}
    if "encoder" in trained:  # another encoder has other statistics
        state = {k: v for k, v in state.items() if "." in k}
    if wrong := [k for k, v in state.items() if v.shape != wanted[k].shape]:
        raise InvalidRequest(f"{config.start}: {wrong[0]} is of another shape than in `model`; it is not trained here")
    if lost := {k.split(".")[0] for k in wanted.keys() - state.keys() if "." in k} - set(trained):
        raise InvalidRequest(f"{config.start} has no {', '.join(sorted(lost))}, which is not trained here")
    net.load_state_dict(state, strict=False)
    return net


def gen3r_networks(config: TrainConfig) -> Gen3RNetworks:
    """A Gen3R of `start`, whose trained network is new but with `fine_tune`. Raises InvalidRequest without one."""
    if not config.start:
        raise InvalidRequest(f"stage {config.stage} needs VGGT and the video VAE: give a Gen3R's folder as start=")
    if config.model:
        raise InvalidRequest(f"stage {config.stage} takes its networks' sizes from start=: leave out `model`")
    latent_frames(config.views)
    unit = math.lcm(14, 2 * SPACE)
    if wrong := [size for size in config.sizes if size[0] % unit or size[1] % unit]:
        raise InvalidRequest(f"sizes has {wrong[0]}, expected multiples of {unit} pixels")
    given = load_networks(resolve(config.start, local_files_only=True), dtype=torch.float32)
    if not isinstance(given, Gen3RNetworks):
        raise InvalidRequest(f"{config.start} holds {type(given).__name__}, expected the networks of a Gen3R")
    if not config.fine_tune:
        if config.stage == "gen3r-adapter":
            given.adapter = GeometryAdapter(given.config.adapter)
        else:
            given.transformer = JointTransformer(given.config.transformer)
    return given


def joint_stage(net: Gen3RNetworks, config: TrainConfig) -> JointStage:
    """The transformer's stage, with the states of the prompt and of the empty one, which are kept in `start`."""
    states = TextStates(resolve(config.start, local_files_only=True))
    return JointStage(net, config.gen3r, (states(config.gen3r.prompt), states("")))


def open_data(config: TrainConfig, folder: Path, fields: tuple[str, ...] = ()) -> TrainingData:
    """Data of a configuration, for a run in `folder`, where bad scenes are noted; `fields`: those read of a cache.

    Raises InvalidRequest where there are none.
    """
    line = next((line for line in config.data if re.fullmatch(rf"({ROOMS}|{CLIPS})\d*|{CACHE}.*", line)), None)
    if line is None:
        folder.mkdir(parents=True, exist_ok=True)
        return Mixed(config, folder / "skipped.jsonl")
    place = line.split(":", 1)[1]
    if line.startswith(CACHE):
        if len(config.data) > 1 or not fields:
            raise InvalidRequest(
                f"{line} stands alone, for stages of gld train mini; stage {config.stage}, {config.data}"
            )
        cache = Path(os.path.normpath(folder / place))  # the run's folder need not exist yet
        return CachedLatents(cache, config.batch, fields, config.seed)
    if line.startswith(CLIPS):
        if len(config.data) > 1 or len(config.sizes) > 1:
            raise InvalidRequest(f"{CLIPS} stands alone and has one size, not {len(config.sizes)}; see rooms:train")
        return Numbered(RoomClips(config.batch, config.views, config.sizes[0], int(place or 0)), config.workers)
    if len(config.data) > 1 or config.views != 4:
        raise InvalidRequest(f"{ROOMS} has 4 views, two sources and two targets, and stands alone; see rooms:train")
    return Numbered(Rooms(config.batch, config.sizes, int(place or 0)), config.workers)


def rgb_stage(net: GLDNetworks, config: TrainConfig) -> RGBDecoderStage:
    """The RGB decoder's stage; without the weights of LPIPS there is no LPIPS, and a warning says so."""
    perceptual = None
    if config.lpips:
        perceptual = LPIPS.from_folder(config.lpips)
    elif config.lpips_weight:
        warnings.warn("no LPIPS weights are given (lpips=FOLDER): the RGB decoder trains without LPIPS", stacklevel=2)
    if config.discriminator.kind == "dino" and not config.discriminator.weights:
        raise InvalidRequest("discriminator.kind is 'dino': give discriminator.weights=FILE, or kind conv or none")
    judge = adversary(config.discriminator)
    return RGBDecoderStage(net, config.level_dropout, config.propagation, perceptual, config.lpips_weight, judge)


def flow_stage(net: GLDNetworks, config: TrainConfig) -> FlowStage:
    """A diffusion stage on the geometric latents; `flow.level` and `flow.given` override the stage's own levels.

    With `flow.distill` the model that is written takes the student's few steps.
    """
    dit, options, distill = getattr(net, config.stage), config.flow, config.flow.distill
    own_level, own_given = (BOUNDARY, None) if config.stage == "level1" else (0, BOUNDARY)
    level = own_level if options.level < 0 else options.level
    given = {-1: own_given if dit.config.level1_channels else None, -2: None}.get(options.given, options.given)
    if (given is not None) != bool(dit.config.level1_channels):
        raise InvalidRequest(
            f"model.{config.stage}.level1_channels is {dit.config.level1_channels}, but the given level is {given}"
        )
    if net.config.warps:
        raise InvalidRequest(f"model '{net.config.name}' warps its sources; this stage trains models that do not")
    if distill.windows and dit.config.prediction == NOISELESS:
        raise InvalidRequest(f"model.{config.stage}.prediction is '{NOISELESS}', one step already: nothing to distill")
    flow = replace(net.config.flow, shift_dim=options.shift_dim or net.config.flow.shift_dim)
    kind = DistillationStage if distill.windows else FlowStage
    stage = kind(GeometricLatents(net), dit, level, given, flow, options, net.config.compat)
    if not options.statistics_batches and not all(map(stage.space.measured, stage.levels)):
        raise InvalidRequest(f"{config.start} has no latent statistics: set flow.statistics_batches, e.g. to 16")
    if distill.windows:
        net.config = replace(net.config, flow=few_step_flow(net.config.flow, config.stage, distill))
    return stage


@dataclass(frozen=True)
class Kind:
    """The networks that a stage trains, while the others come from `start`, and how it is made."""

    trains: tuple[str, ...]
    make: Callable[[Any, TrainConfig], Stage]


GEN3R = ("gen3r-adapter", "gen3r-dit")
ALL_BUT_DIFFUSION = ("encoder", "dpt", "rgb", "matching")
#: `gld train STAGE` has all but those of `gld train mini`.
STAGES: dict[str, Kind] = {
    "encoder": Kind(ALL_BUT_DIFFUSION, lambda net, run: EncoderStage(net, run.level_dropout, run.propagation)),
    "rgb-decoder": Kind(("rgb",), rgb_stage),
    "level1": Kind(("level1",), flow_stage),
    "level0": Kind(("level0",), flow_stage),
    "gen3r-adapter": Kind(("adapter",), lambda net, run: AdapterStage(net, run.gen3r)),
    "gen3r-dit": Kind(("transformer",), joint_stage),
    "mini-geometry": Kind(ALL_BUT_DIFFUSION, lambda net, run: GeometryStage(net, run.level_dropout)),
    "mini-depth": Kind(("matching",), lambda net, run: DepthStage(net, run.augmented)),
    "mini-decoder": Kind(("rgb", "dpt"), lambda net, _: DecoderStage(net)),
    "mini-level1": Kind(("level1",), lambda net, _: WarpedFlowStage(net, 1)),
    "mini-level0": Kind(("level0",), lambda net, _: WarpedFlowStage(net, 0)),
    "mini-generated": Kind(("rgb", "dpt"), lambda net, _: GeneratedStage(net)),
}
