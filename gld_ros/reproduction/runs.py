# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trains and scores what a reproduction needs, keeping all that is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gld_ros.data.clips import ClipBatch
from gld_ros.data.rooms import TEST_SEED
from gld_ros.errors import InvalidRequest
from gld_ros.files import write_text
from gld_ros.networks.gld import GLDNetworks
from gld_ros.reproduction import scoring
from gld_ros.reproduction.plans import Plan
from gld_ros.reproduction.rooms import SOURCES, StoredRooms, Stream
from gld_ros.reproduction.scoring import Figures
from gld_ros.reproduction.spaces import LEVELS, VAE, EncodingStage, VAELatents, VAEStage
from gld_ros.reproduction.variants import (
    COMPRESSED,
    GEOMETRY,
    SYSTEMS,
    VARIANTS,
    build_stage,
    needed,
    parameters,
)
from gld_ros.reproduction.variants import VAE as VAE_SPACE
from gld_ros.training.config import TrainConfig
from gld_ros.training.engine import Engine
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import GeometricLatents, LatentSpace
from gld_ros.training.stage import Stage

TEST_ROOMS = TEST_SEED + 2_000_000  # seed of the first held-out room


class Interrupted(Exception):
    """The run was asked to stop; everything is saved."""


class Reproduction:
    """One budget in one folder; what is there already is used. Raises InvalidRequest for the folder of another plan."""

    def __init__(self, plan: Plan, folder: Path, only: list[str]):
        self.plan, self.folder = plan, folder
        self.representations, self.variants, self.systems = needed(only)
        check_plan(plan, folder / "plan.json")
        cuda = plan.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        self.train = StoredRooms(folder / "rooms", 0, plan.rooms, plan.size)
        self.test = StoredRooms(folder / "rooms", TEST_ROOMS, plan.test_rooms, plan.size)

    def run(self) -> dict[str, Any]:
        """Everything; returns figures by name: curves, systems, references, parameters. Raises Interrupted."""
        spaces = {name: self.representation(name) for name in self.representations}
        stages = {name: build_stage(self.plan, name, spaces[VARIANTS[name].space]) for name in self.variants}
        curves = {name: self.curve(name, stage) for name, stage in stages.items()}
        pictures = {name: partial(self.pictures, [stages[s] for s in SYSTEMS[name]]) for name in self.systems}
        systems = {name: self.kept(f"systems/{name}", partial(self.score, made)) for name, made in pictures.items()}
        counts = {f"diffusion stage {name}": parameters(stage.dit) for name, stage in stages.items()}
        counts |= {f"{name}: encoder and decoder": parameters(space) for name, space in spaces.items()}
        references = {"copy of the nearest source": self.kept("references", partial(self.score, scoring.copy_figures))}
        return {"curves": curves, "systems": systems, "references": references, "parameters": counts}

    def kept(self, name: str, compute: Callable[[], Any]) -> Any:
        """A result from its file, or computed and written there."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_json(path, compute())
        return json.loads(path.read_text())

    def fit(self, stage: Stage, config: TrainConfig, folder: Path) -> None:
        """Train up to `config.steps`, from the folder's checkpoint; leaves the averaged weights. Raises Interrupted."""
        if not Engine(stage, config, folder).fit(Stream(self.train, config.batch, config.seed)):
            raise Interrupted
        stage.eval()

    def representation(self, name: str) -> LatentSpace:
        """A trained latent space with its statistics."""
        plan = self.plan
        torch.manual_seed(plan.seed)
        stage: VAEStage | EncodingStage
        if name in (VAE_SPACE, COMPRESSED):
            channels = plan.encoder.channels if name == VAE_SPACE else plan.compressed_channels
            stage = VAEStage(VAE(plan.vae_width, channels))
        else:
            net = GLDNetworks(plan.model)
            stage = EncodingStage(net, geometry=name == GEOMETRY)
        self.fit(stage, plan.representation_run(name), self.folder / "representations" / name)
        space: LatentSpace
        if isinstance(stage, VAEStage):
            space = VAELatents(stage.vae)
        else:
            space = GeometricLatents(net.eval().requires_grad_(False))
            if name == GEOMETRY:
                self.net = net
        space.to(self.device).eval()
        images = (batch.images.to(self.device) for batch in Stream(self.train, plan.batch, plan.seed).batches(0))
        space.measure(images, plan.statistics_batches, range(LEVELS))
        return space

    def curve(self, name: str, stage: FlowStage) -> dict[str, Any]:
        """Train a variant; PSNR (milestones, scenes) of its pictures at its milestones. A cascade has none."""
        plan, path = self.plan, self.folder / "variants" / name / "curve.json"
        curve = json.loads(path.read_text()) if path.exists() else {"steps": [], "psnr": []}
        left = [step for step in plan.scored_steps if step not in curve["steps"]]
        for step in left or plan.scored_steps[-1:]:
            self.fit(stage, plan.flow_run(f"reproduce {name}", step), path.parent)
            if left:
                curve["steps"].append(step)
                if stage.given is None:
                    curve["psnr"].append(self.score(partial(self.pictures, [stage]))["psnr"])
                write_json(path, curve)
        return curve

    def score(self, figures: Callable[[ClipBatch], Figures]) -> Figures:
        """Figures of all held-out rooms, in order."""
        whole: Figures = {}
        for start in range(0, self.test.count, self.plan.batch):
            batch = self.test.batch(list(range(start, min(start + self.plan.batch, self.test.count))))
            for name, values in figures(batch.to(self.device)).items():
                whole.setdefault(name, []).extend(values)
        return whole

    def pictures(self, stages: list[FlowStage], batch: ClipBatch) -> Figures:
        """Figures of the pictures, and of the depth where the latents are those of the geometric encoder."""
        space, latents = stages[0].space, scoring.generate(stages, batch, self.plan)
        with torch.no_grad():
            figures = scoring.picture_figures(space.decode(latents, batch.images[:, :SOURCES]), batch)
        if isinstance(space, GeometricLatents) and space.net.encoder is self.net.encoder:
            figures |= scoring.depth_figures(scoring.free_depth(self.net, space, latents, batch), batch)
        return figures


def check_plan(plan: Plan, path: Path) -> None:
    """Write the plan, or raise InvalidRequest where the folder holds what another plan made."""
    values = json.loads(json.dumps(asdict(plan)))
    if path.exists():
        saved = json.loads(path.read_text())
        if changed := [key for key in values if key != "device" and saved.get(key) != values[key]]:
            raise InvalidRequest(f"{path.parent} holds a run with other {', '.join(changed)}: give another --out")
    write_json(path, values)


def write_json(path: Path, value: Any) -> None:
    """The whole file or nothing."""
    write_text(path, json.dumps(value, indent=1) + "\n")
