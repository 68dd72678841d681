# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latents on disk: scenes are rendered and encoded once, by the frozen encoder, and the diffusion stages train on them.

A shard is one safetensors file of scenes with the same numbers of views and the same image size. Each shard follows
from its number alone, so that an interrupted cache is continued where it ended, by any number of processes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gld_ros.data.look_away import render_look_away
from gld_ros.data.raytrace import compiled_render, render
from gld_ros.data.room_views import RoomViews
from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.errors import InvalidRequest
from gld_ros.generators.warping import encode_warps, warp_sources
from gld_ros.networks.configs import Compat
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.data import quiet_worker
from gld_ros.weights.loading import load_model
from gld_ros.weights.tensor_files import write_tensors

SCENES = 32  # of a shard
#: Width and height of the working images, and of one shard in eight.
SIZE, OTHER_SIZES = (96, 72), ((72, 96), (144, 48))
EMPTY = torch.empty(0)


@dataclass
class LatentBatch:
    """B scenes of S sources, then N targets; V = S + N. Fields that were not read are empty.

    level0, level1: the truth, latents (B, V, C, h, w) of all views encoded together. sources0, sources1: latents
    (B, S, C, h, w) of the sources encoded alone; warps0, warps1: (B, N, C, h, w) of the warped sources. camera: raw
    level-1 camera tokens (B, V, C). seen: (B, N, H, W) bool. K: (B, V, 3, 3) pixels of (H, W); c2w: (B, V, 4, 4).
    images: (B, V, 3, u H, u W) uint8, or 0..1, for a decoder of upscale u, and depth: (B, V, H, W) metres, in some
    shards only.
    """

    level0: Tensor = EMPTY
    level1: Tensor = EMPTY
    sources0: Tensor = EMPTY
    sources1: Tensor = EMPTY
    warps0: Tensor = EMPTY
    warps1: Tensor = EMPTY
    camera: Tensor = EMPTY
    seen: Tensor = EMPTY
    K: Tensor = EMPTY
    c2w: Tensor = EMPTY
    images: Tensor = EMPTY
    depth: Tensor = EMPTY

    @property
    def grid(self) -> tuple[int, int]:
        return self.level1.shape[-2], self.level1.shape[-1]

    def condition(self, level: int, targets: int) -> Tensor:
        """Latents (B, S + N, C, h, w) of the sources alone, and of the warped sources in the first targets' places."""
        sources, warps = (getattr(self, f"{kind}{level}") for kind in ("sources", "warps"))
        return torch.cat([sources, warps[:, :targets]], dim=1)

    def cameras(self, compat: Compat, targets: int) -> RequestCameras:
        """Cameras of the sources and of the first targets."""
        S, (H, W) = self.sources1.shape[1], self.seen.shape[-2:]
        K, c2w, seen = self.K[:, : S + targets], self.c2w[:, : S + targets], self.seen[:, :targets]
        return RequestCameras(K, c2w, S, (H, W), self.grid, compat, seen)

    def to(self, device: Any) -> LatentBatch:
        """On a device, latents as float32."""
        moved = {name: x.to(device) for name, x in vars(self).items()}
        return LatentBatch(**{name: x.float() if x.dtype == torch.float16 else x for name, x in moved.items()})


@dataclass(frozen=True)
class ShardPlan:
    """The plan of a cache: what a shard holds follows from its number.

    One shard in `painted` has pictures and depth, which the decoders train on. All shards have six views and equally
    many pixels at their own resolution, so that the ray tracer is compiled for few shapes.
    """

    shards: int
    first_seed: int = 0
    scenes: int = SCENES
    painted: int = 4

    def views(self, number: int) -> tuple[int, int]:
        """Sources and targets."""
        return ((2, 4), (2, 4), (3, 3), (4, 2))[number % 4]

    def size(self, number: int) -> tuple[int, int]:
        """(width, height) of the images: one shard in eight has another aspect than 4:3."""
        return OTHER_SIZES[number // 8 % len(OTHER_SIZES)] if number % 8 == 5 else SIZE

    def kind(self, number: int) -> str:
        """The rooms: one shard in four has plain ones."""
        return "plain" if number // 4 % 4 == 3 else "furnished"

    def seeds(self, number: int) -> list[int]:
        first = self.first_seed + number * self.scenes
        return list(range(first, first + self.scenes))

    def has_pictures(self, number: int) -> bool:
        return number % self.painted == 0


class SceneEncoder:
    """Renders the scenes of a shard and encodes them; compiled renderers are kept from shard to shard."""

    def __init__(self, net: GLDNetworks, device: torch.device, compiled: bool = True):
        self.net, self.device = net, device
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
        self.renderer: Callable = compiled_render() if compiled else render

    def __call__(self, plan: ShardPlan, number: int) -> dict[str, Tensor]:
        """The tensors of `LatentBatch`, latents as float16."""
        (S, N), (width, height) = plan.views(number), plan.size(number)
        scale = 2 if plan.has_pictures(number) else 1
        seeds, kind = plan.seeds(number), plan.kind(number)
        views = render_look_away(seeds, S, N, scale * width, scale * height, self.renderer, kind)
        parts = [self.encode(part, S, scale) for part in split(views, 8)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.inference_mode()
    def encode(self, views: RoomViews, S: int, scale: int) -> dict[str, Tensor]:
        """views: rendered at `scale` times the working size."""
        net, device = self.net, self.device
        images = F.avg_pool2d(views.images.flatten(0, 1), scale).unflatten(0, views.images.shape[:2]).to(device)
        K = (views.K * torch.tensor([1 / scale, 1 / scale, 1.0])[:, None]).to(device)
        c2w = views.c2w.to(device)
        with self.autocast:
            alone = net.encoder(images[:, :S])
            tokens = net.encoder.to_decoder(alone[3])
            posed = net.matching(images[:, :S], K[:, :S], c2w[:, :S], tokens, alone[0].grid)
            warped = warp_sources(images[:, :S], posed, K[:, :S], c2w[:, :S], K[:, S:], c2w[:, S:])
            warps = encode_warps(net, images[:, :S], warped)
            truth = net.encoder(images, levels=2)
            found = {f"level{k}": net.to_latent(truth[k], k) for k in (0, 1)}
            found |= {f"sources{k}": net.to_latent(alone[k], k) for k in (0, 1)}
        found |= {"warps0": warps.level0, "warps1": warps.level1, "camera": warps.camera}
        kept = {name: value.half() for name, value in found.items()} | {"seen": warped.seen, "K": K, "c2w": c2w}
        if scale > 1:
            kept["images"] = (views.images * 255).round().byte()
            kept["depth"] = views.depth[:, :, scale // 2 :: scale, scale // 2 :: scale].half()
        return {name: value.cpu().contiguous() for name, value in kept.items()}


def split(views: RoomViews, scenes: int) -> list[RoomViews]:
    """At most so many scenes each."""
    parts = [getattr(views, f.name).split(scenes) for f in fields(views)]
    return [RoomViews(*part) for part in zip(*parts, strict=True)]


def build_cache(folder: Path, model: Path, plan: ShardPlan, processes: int, device: str = "cpu") -> None:
    """Every shard of the plan that `folder` does not hold yet, with the networks of the model folder.

    processes: of one thread each, on a CPU; a GPU gets one. Ctrl-C ends it; what is done stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(plan.shards) if not shard_path(folder, number).exists()]
    work = partial(_build_shard, folder, model, plan, device)
    with contextlib.ExitStack() as stack:
        run: Callable = map
        if processes > 1 and device == "cpu":
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(processes, context, quiet_worker, (0,))
            run = stack.enter_context(pool).map
        done = run(work, missing)
        for _ in tqdm(done, "cache", plan.shards, initial=plan.shards - len(missing), disable=None):
            pass


@cache
def _scene_encoder(model: Path, device: str) -> SceneEncoder:
    """The encoder of this process, loaded and compiled once."""
    return SceneEncoder(load_model(model, device, torch.float32), torch.device(device))


def _build_shard(folder: Path, model: Path, plan: ShardPlan, device: str, number: int) -> None:
    write_tensors(shard_path(folder, number), _scene_encoder(model, device)(plan, number))


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.safetensors"


class CachedLatents:
    """TrainingData of a cache: every epoch goes through all shards in another order, and in each through all scenes.

    batch: scenes. names: the fields of LatentBatch that are read; shards without them are left out.
    """

    def __init__(self, folder: Path, batch: int, names: tuple[str, ...], seed: int = 0):
        self.batch, self.names, self.seed = batch, names, seed
        self.shards = []
        for path in sorted(folder.glob("shard-*.safetensors")):
            with safe_open(path, framework="pt") as file:
                held = set(file.keys())
                scenes = file.get_slice("K").get_shape()[0]
            if set(names) <= held and scenes >= batch:
                self.shards.append((path, scenes // batch))
        if not self.shards:
            raise InvalidRequest(f"{folder}: no shard with {', '.join(names)} and at least {batch} scenes")
        #: Shard and part of each batch of an epoch.
        self.places = [(shard, part) for shard, (_, parts) in enumerate(self.shards) for part in range(parts)]

    @property
    def length(self) -> int:
        """Batches of an epoch."""
        return len(self.places)

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[LatentBatch]:
        return map(self.read, count(position * processes + rank, processes))

    def read(self, number: int) -> LatentBatch:
        """Batch `number` of the endless stream."""
        epoch, place = divmod(number, self.length)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        shard, part = self.places[order[place]]
        with safe_open(self.shards[shard][0], framework="pt") as file:
            total = file.get_slice("K").get_shape()[0]
            chosen = np.random.default_rng([self.seed, epoch, shard]).permutation(total)
            rows = torch.from_numpy(np.sort(chosen[part * self.batch : (part + 1) * self.batch]))
            return LatentBatch(**{name: file.get_tensor(name)[rows] for name in self.names})
