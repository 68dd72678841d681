# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trains and scores what a reproduction needs, keeping all that is finished."""

from __future__ import annotations

import json
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
from gld_ros.reproduction.progress import Progress
from gld_ros.reproduction.rooms import CHUNK, StoredRooms, Stream
from gld_ros.reproduction.scoring import Figures
from gld_ros.reproduction.spaces import LEVELS, VAE, EncodingStage, Levels, VAELatents, VAEStage
from gld_ros.reproduction.variants import (
    COMPRESSED,
    GEOMETRY,
    PICTURES,
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
from gld_ros.training.latents import LatentSpace
from gld_ros.training.stage import Stage

TEST_ROOMS = TEST_SEED + 2_000_000  # seed of the first held-out room
#: Seconds of one step, of scoring one scene, of 64 rooms, on one core at the `cpu` budget: only their ratios count.
COSTS = {
    "rooms": 2.0,
    GEOMETRY: 0.3,
    PICTURES: 0.16,
    VAE_SPACE: 0.15,
    COMPRESSED: 0.15,
    "diffusion": 0.36,
    "scores": 0.07,
}
#: Representations that are VAEs: their titles.
VAES = {VAE_SPACE: "VAE", COMPRESSED: "VAE of few channels"}


class Interrupted(Exception):
    """The run was asked to stop; everything is saved."""


class Reproduction:
    """One budget in one folder; what is there already is used. Raises InvalidRequest for the folder of another plan."""

    def __init__(self, plan: Plan, folder: Path, only: list[str]):
        self.plan, self.folder = plan, folder
        self.representations, self.variants, self.systems = needed(only)
        folder.mkdir(parents=True, exist_ok=True)
        check_plan(plan, folder / "plan.json")
        cuda = plan.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        scored = len(self.variants) * len(plan.scored_steps) + len(self.systems)
        units = {"rooms": -(-plan.rooms // CHUNK) + -(-plan.test_rooms // CHUNK)}
        units |= {name: plan.representation_steps for name in self.representations}
        units |= {"diffusion": plan.flow_steps * len(self.variants), "scores": plan.test_rooms * scored}
        self.progress = Progress(units, COSTS)
        self._spaces: dict[str, LatentSpace] = {}
        self._stages: dict[str, FlowStage] = {}
        self._counted: dict[Path, int] = {}  # steps of each training that the progress knows of

    def run(self) -> dict[str, Any]:
        """Everything; returns figures by name: curves, systems, reconstruction, references, parameters."""
        rooms = partial(StoredRooms, self.folder / "rooms", size=self.plan.size)
        self.train = rooms(first=0, count=self.plan.rooms, on_rooms=lambda n: self.progress.done("rooms"))
        self.test = rooms(first=TEST_ROOMS, count=self.plan.test_rooms, on_rooms=lambda n: self.progress.done("rooms"))
        for name in self.representations:
            self._spaces[name] = self.representation(name)
        curves = {name: self.curve(name) for name in self.variants}
        found = {
            "curves": curves,
            "systems": {
                name: self.kept(f"systems/{name}", partial(self.system, name), self.plan.test_rooms)
                for name in self.systems
            },
            "reconstruction": self.kept("reconstruction-" + "-".join(self.representations), self.reconstruction),
            "references": self.kept("references", self.references),
            "parameters": self.parameters(),
        }
        self.progress.close()
        return found

    def kept(self, name: str, compute: Any, scores: int = 0) -> Any:
        """A result from its file, or computed and written there. scores: scenes that the progress counts for it."""
        path = self.folder / f"{name}.json"
        if path.exists():
            self.progress.skip("scores", scores)
            return json.loads(path.read_text())
        result = compute()
        write_json(path, result)
        return result

    def fit(self, stage: Stage, config: TrainConfig, folder: Path, kind: str) -> None:
        """Train up to `config.steps`, from the folder's checkpoint; leaves the averaged weights. Raises Interrupted."""
        engine = Engine(stage, config, folder)
        self.progress.skip(kind, engine.step - self._counted.get(folder, 0))
        self._counted[folder] = config.steps
        if not engine.fit(Stream(self.train, config.batch, config.seed, lambda: self.progress.done(kind))):
            raise Interrupted
        stage.eval()

    def representation(self, name: str) -> LatentSpace:
        """A trained latent space with its statistics."""
        plan = self.plan
        torch.manual_seed(plan.seed)
        if name in VAES:
            vae = VAE(plan.vae_width, plan.encoder.channels if name == VAE_SPACE else plan.compressed_channels)
            stage: Stage = VAEStage(vae)
        else:
            net = GLDNetworks(plan.model)
            stage = EncodingStage(net, geometry=name == GEOMETRY)
        config = plan.representation_run(name)
        folder = self.folder / "representations" / name
        self.fit(stage, config, folder, name)
        if name in VAES:
            space: LatentSpace = VAELatents(vae)
        else:
            space = Levels(net.eval().requires_grad_(False))
            if name == GEOMETRY:
                self.net = net
        space.to(self.device).eval()
        batches = Stream(self.train, plan.batch, plan.seed).batches(0)
        images = (batch.images.to(self.device) for batch in batches)
        space.measure(images, plan.statistics_batches, range(LEVELS))
        return space

    def curve(self, name: str) -> dict[str, Any]:
        """Train a variant; PSNR (milestones, scenes) of its pictures at its milestones. A cascade has none."""
        plan, path = self.plan, self.folder / "variants" / name / "curve.json"
        curve = json.loads(path.read_text()) if path.exists() else {"steps": [], "psnr": []}
        stage = self._stages[name] = build_stage(plan, name, self._spaces[VARIANTS[name].space])
        left = [step for step in plan.scored_steps if step not in curve["steps"]]
        self.progress.skip("scores", plan.test_rooms * len(curve["steps"]))
        for step in left or plan.scored_steps[-1:]:
            self.fit(stage, plan.flow_run(f"reproduce {name}", step), path.parent, "diffusion")
            if left:
                curve["steps"].append(step)
                if stage.given is None:
                    curve["psnr"].append(self.pictures([stage])["psnr"])
                else:
                    self.progress.skip("scores", plan.test_rooms)
                write_json(path, curve)
        return curve

    def pictures(self, stages: list[FlowStage]) -> Figures:
        """Figures of the pictures alone."""

        def score(batch: ClipBatch) -> Figures:
            latents = scoring.generate(stages, batch, self.plan)
            found = scoring.picture_figures(scoring.decoded(stages[0].space, latents, batch), batch)
            self.progress.done("scores", len(batch))
            return found

        return scoring.collected(scoring.held_out_batches(self.test, self.plan, self.device), score)

    def system(self, name: str) -> Figures:
        """All figures of a finished system."""
        stages = [self._stages[stage] for stage in SYSTEMS[name].stages]
        space = stages[0].space

        def score(batch: ClipBatch) -> Figures:
            latents = scoring.generate(stages, batch, self.plan)
            made = scoring.decoded(space, latents, batch)
            found = scoring.picture_figures(made, batch) | scoring.pose_figures(self.net, made, batch)
            if space is self._spaces[GEOMETRY]:
                assert isinstance(space, Levels)
                depth = scoring.free_depth(self.net, space, latents, batch)
                found |= scoring.depth_figures(depth, batch)
            self.progress.done("scores", len(batch))
            return found

        return scoring.collected(scoring.held_out_batches(self.test, self.plan, self.device), score)

    @torch.no_grad()
    def reconstruction(self) -> dict[str, Figures]:
        """Real views through each space and back: all levels, single ones, a level and what follows from it."""
        found: dict[str, Figures] = {}

        def add(title: str, pictures: Any) -> None:
            batches = scoring.held_out_batches(self.test, self.plan, self.device)
            found[title] = scoring.collected(batches, lambda b: scoring.picture_figures(pictures(b.images), b))

        space = self._spaces[GEOMETRY]
        assert isinstance(space, Levels)
        add("GLD, all levels", partial(space.decode_real, levels=range(LEVELS)))
        for k in range(LEVELS):
            add(f"GLD, F{k} alone", partial(space.decode_real, levels=[k]))

        def boundary(images: torch.Tensor, k: int) -> torch.Tensor:
            return space.decode({k: space.encode(images, [k])[k]}, images[:, :1])

        for k in range(LEVELS):
            add(f"GLD, F{k} and the levels propagated from it", partial(boundary, k=k))
        for name, title in VAES.items():
            if vae := self._spaces.get(name):
                add(title, lambda images, vae=vae: vae.decode(vae.encode(images, [0]), images[:, :1]))
        if PICTURES in self._spaces:
            pictures = self._spaces[PICTURES]
            assert isinstance(pictures, Levels)
            add("DINO-like, all levels", partial(pictures.decode_real, levels=range(LEVELS)))
        return found

    @torch.no_grad()
    def references(self) -> dict[str, Figures]:
        """Copies of the nearest source, and the real views with their depth and poses as our encoder sees them."""

        def copy(batch: ClipBatch) -> Figures:
            made = scoring.nearest_sources(batch)
            return scoring.picture_figures(made, batch) | scoring.pose_figures(self.net, made, batch)

        def real(batch: ClipBatch) -> Figures:
            levels = self.net.encoder(batch.images)
            features = [self.net.encoder.to_decoder(level) for level in levels]
            depth = self.net.dpt(features, levels[0].grid, batch.images.shape[-2:]).depth
            return scoring.depth_figures(depth, batch) | scoring.pose_figures(self.net, batch.images, batch)

        batches = partial(scoring.held_out_batches, self.test, self.plan, self.device)
        return {"copy of the nearest source": scoring.collected(batches(), copy), "real views": scoring.collected(
            batches(), real)}  # fmt: skip

    def parameters(self) -> dict[str, int]:
        """Of everything that was trained."""
        found = {f"diffusion stage {name}": parameters(stage.dit) for name, stage in self._stages.items()}
        for name, space in self._spaces.items():
            if isinstance(space, Levels):
                found[f"{name}: encoder"] = parameters(space.net.encoder)
                found[f"{name}: RGB decoder"] = parameters(space.net.rgb)
            else:
                found[f"{name}: encoder and decoder"] = parameters(space)
        found["geometry: depth and ray head"] = parameters(self.net.dpt)
        return found


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
