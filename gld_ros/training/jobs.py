# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a configuration to a stage with its networks and data, and from the trained stage to a model folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gld_ros.diffusion.flow import NOISELESS
from gld_ros.errors import InvalidRequest
from gld_ros.metrics.lpips import LPIPS
from gld_ros.networks.configs import DiTConfig
from gld_ros.networks.gld import BOUNDARY, GLDNetworks
from gld_ros.reports.provenance import git_revision
from gld_ros.training.adversarial import adversary
from gld_ros.training.checkpoint import full
from gld_ros.training.config import STAGES, TrainConfig, plain
from gld_ros.training.distillation import DistillationStage, few_step_flow
from gld_ros.training.encoder_stage import EncoderStage
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.rgb_stage import RGBDecoderStage
from gld_ros.training.stage import Stage
from gld_ros.weights.folder import on_meta
from gld_ros.weights.hub import resolve
from gld_ros.weights.loading import load_model, save_model

#: Networks that each stage trains; the others come from `start`.
TRAINED = {
    "encoder": ("encoder", "dpt", "rgb", "matching"),
    "rgb-decoder": ("rgb",),
    "level1": ("level1",),
    "level0": ("level0",),
}


@dataclass
class Job:
    """A stage and the whole model that its networks are part of."""

    config: TrainConfig
    stage: Stage
    net: GLDNetworks

    def write(self, folder: Path, main: bool = True) -> None:
        """Write the whole model, float32, and how it was trained; all processes have to call this, `main` writes."""
        state = {key: full(value) for key, value in self.net.state_dict().items()}
        if isinstance(self.stage, FlowStage) and isinstance(self.stage.space, GeometricLatents):
            for name, buffer in self.stage.space.net.named_buffers(recurse=False):
                if name in state:
                    state[name] = full(buffer)
        if main:
            whole = on_meta(self.net.config)
            whole.load_state_dict(state, assign=True)
            save_model(folder, whole, torch.float32)
            history = {"config": plain(self.config), "revision": git_revision()}
            (folder / "training.json").write_text(json.dumps(history, indent=1) + "\n")


def build(config: TrainConfig) -> Job:
    """The job of a configuration, with fresh weights drawn from its seed. Raises InvalidRequest and ModelError."""
    if config.stage not in STAGES:
        raise InvalidRequest(f"stage is '{config.stage}', expected one of {', '.join(STAGES)}")
    torch.manual_seed(config.seed)
    net = networks(config)
    makers: dict[str, Callable[[], Stage]] = {
        "encoder": lambda: EncoderStage(net, config.level_dropout, config.propagation),
        "rgb-decoder": lambda: rgb_stage(config, net),
        "level1": lambda: flow_stage(config, net, BOUNDARY, None),
        "level0": lambda: flow_stage(config, net, 0, BOUNDARY if net.config.level0.level1_channels else None),
    }
    return Job(config, makers[config.stage](), net)


def networks(config: TrainConfig) -> GLDNetworks:
    """The whole model: networks of `start` but for those to be trained, which are new (but see `fine_tune`)."""
    if not config.start:
        if config.stage != "encoder":
            raise InvalidRequest(f"stage {config.stage} trains on a frozen encoder: give its model folder as start=")
        return GLDNetworks(config.model_config())
    given = load_model(resolve(config.start, local_files_only=True))
    net = GLDNetworks(config.model_config(given.config))
    new = () if config.fine_tune else TRAINED[config.stage]
    wanted = net.state_dict()
    state = {k: v for k, v in given.state_dict().items() if k.split(".")[0] not in new and k in wanted}
    if "encoder" in TRAINED[config.stage]:  # another encoder has other statistics
        state = {k: v for k, v in state.items() if "." in k}
    if wrong := [k for k, v in state.items() if v.shape != wanted[k].shape]:
        raise InvalidRequest(f"{config.start}: {wrong[0]} is of another shape than in `model`; it is not trained here")
    if lost := {k.split(".")[0] for k in wanted.keys() - state.keys() if "." in k} - set(TRAINED[config.stage]):
        raise InvalidRequest(f"{config.start} has no {', '.join(sorted(lost))}, which is not trained here")
    net.load_state_dict(state, strict=False)
    return net


def rgb_stage(config: TrainConfig, net: GLDNetworks) -> RGBDecoderStage:
    """The RGB decoder's stage; without the weights of LPIPS there is no LPIPS, and a warning says so."""
    perceptual = None
    if config.lpips:
        perceptual = LPIPS.from_folder(config.lpips)
    elif config.lpips_weight:
        warnings.warn("no LPIPS weights are given (lpips=FOLDER): the RGB decoder trains without LPIPS", stacklevel=2)
    if config.discriminator.kind == "dino" and not config.discriminator.weights:
        raise InvalidRequest("discriminator.kind is 'dino': give discriminator.weights=FILE, or kind conv or none")
    return RGBDecoderStage(
        net,
        config.level_dropout,
        config.propagation,
        perceptual,
        config.lpips_weight,
        adversary(config.discriminator),
    )


def flow_stage(config: TrainConfig, net: GLDNetworks, level: int, given: int | None) -> FlowStage:
    """A diffusion stage on the geometric latents; `flow.level` and `flow.given` override the stage's own levels.

    With `flow.distill` the model that is written takes the student's few steps.
    """
    dit = net.level1 if config.stage == "level1" else net.level0
    options: DiTConfig = dit.config
    level = level if config.flow.level < 0 else config.flow.level
    given = {-1: given, -2: None}.get(config.flow.given, config.flow.given)
    if (given is not None) != bool(options.level1_channels):
        raise InvalidRequest(
            f"model.{config.stage}.level1_channels is {options.level1_channels}, but the given level is {given}"
        )
    if net.config.matching is not None:
        raise InvalidRequest(f"model '{net.config.name}' warps its sources; this stage trains models that do not")
    flow = net.config.flow
    if config.flow.shift_dim:
        flow = replace(flow, shift_dim=config.flow.shift_dim)
    distill = config.flow.distill
    if distill.windows and options.prediction == NOISELESS:
        raise InvalidRequest(f"model.{config.stage}.prediction is '{NOISELESS}', one step already: nothing to distill")
    kind = DistillationStage if distill.windows else FlowStage
    stage = kind(GeometricLatents(net), dit, level, given, flow, config.flow, net.config.compat)
    if not config.flow.statistics_batches and not all(map(stage.space.measured, stage.levels)):
        raise InvalidRequest(f"{config.start} has no latent statistics: set flow.statistics_batches, e.g. to 16")
    if distill.windows:
        net.config = replace(net.config, flow=few_step_flow(net.config.flow, config.stage, distill))
    return stage
