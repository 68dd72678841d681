# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R's training in small, with and without the alignment of the adapter's latents (the paper's ablation).

No released weights are used: encoder and heads stand for VGGT, a narrow Wan VAE for the video VAE. Both are trained
for some steps on procedural rooms, then frozen. The image tower keeps its first random weights; there is no text.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from gld_ros.data.clips import ClipBatch
from gld_ros.data.room_clips import RoomClips, render_clips
from gld_ros.data.rooms import TEST_SEED
from gld_ros.metrics.uncertainty import estimate
from gld_ros.networks.configs import StemConfig
from gld_ros.networks.gen3r.conditions import relative_poses
from gld_ros.networks.gen3r.configs import AdapterConfig, Gen3RConfig, ImageTowerConfig, TextConfig, TransformerConfig
from gld_ros.networks.gen3r.geometry import token_maps, unprojected
from gld_ros.networks.gen3r.latents import joined
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.released import VGGT_1B, VGGT_HEAD
from gld_ros.reports.pages import Part, cell, markdown_page, plot, write_page
from gld_ros.reports.provenance import git_revision, hardware
from gld_ros.reproduction.runs import Interrupted, write_json
from gld_ros.training.config import Device, Gen3RTraining, OptimizerConfig, TrainConfig
from gld_ros.training.data import Numbered
from gld_ros.training.engine import Engine
from gld_ros.training.gen3r_losses import camera_loss, distance_loss, divergence
from gld_ros.training.gen3r_stages import AdapterStage, EncodedClips, JointStage, read
from gld_ros.training.records import read_log
from gld_ros.training.stage import Stage
from gld_ros.weights.loading import save_model
from gld_ros.weights.tensor_files import write_tensors
from gld_ros.weights.text_states import states_file

ENCODER = replace(
    VGGT_1B, width=32, heads=2, position_grid=8, stem=StemConfig(depth=1, heads=2), schedule="LG" * 4, taps=(1, 3, 5, 7)
)
MODEL = Gen3RConfig(
    name="gen3r-reproduce",
    encoder=ENCODER,
    head=replace(VGGT_HEAD, features=16, out_channels=(16, 16, 16, 16), hidden=8),
    adapter=AdapterConfig(tokens=5 * ENCODER.channels, width=8, fixed_grid=False),
    vae_width=4,
    transformer=TransformerConfig(width=96, layers=3, heads=4, hidden=192, text_width=16, text_rows=8, image_width=32),
    text=TextConfig(tokens=8, width=16, heads=2, hidden=16, layers=1),
    image=ImageTowerConfig(width=32, layers=2, heads=2, hidden=48, size=28),
    frames=5,
    size=112,
)
VARIANTS = {"with alignment": 2.0, "without alignment": 0.0}
SEED_OF_TEST = TEST_SEED + 3_000_000


@dataclass(frozen=True)
class Gen3RPlan:
    """Steps and clips of a budget."""

    geometry_steps: int = 160
    vae_steps: int = 120
    clips: int = 48
    test_clips: int = 12
    adapter_steps: int = 120
    dit_steps: int = 500
    dit_batch: int = 2
    draws: int = 4
    device: Device = "auto"


GEN3R_PLANS = {
    "smoke": Gen3RPlan(2, 1, 2, 2, 2, 2, 2, 1),
    "cpu": Gen3RPlan(),
    "gpu": Gen3RPlan(4000, 4000, 2048, 64, 4000, 20000, 16, 12),
}


class GeometryStage(Stage):
    """A small VGGT: cameras, depth and points of clips, in units of the clip's mean depth."""

    has_unused_parameters = True

    def __init__(self, net: Gen3RNetworks):
        super().__init__()
        self.encoder, self.heads = net.encoder, net.heads

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        H, W = batch.images.shape[-2:]
        pose, depth, points = read(self.heads, joined(token_maps(self.encoder(batch.images))), (H, W))
        assert batch.depth is not None
        unit = batch.depth.mean(dim=(1, 2, 3))[:, None, None]
        c2w = torch.stack([relative_poses(poses) for poses in batch.c2w])
        c2w[..., :3, 3] /= unit
        true_depth, w2c = batch.depth / unit[..., None], torch.linalg.inv(c2w)
        turn = torch.from_numpy(Rotation.from_matrix(w2c[..., :3, :3].reshape(-1, 3, 3).cpu().numpy()).as_quat())
        focal = torch.stack([batch.K[..., 1, 1], batch.K[..., 0, 0]], dim=-1)
        view = 2 * torch.atan(focal.new_tensor([H / 2, W / 2]) / focal)
        truth = torch.cat([w2c[..., :3, 3], turn.to(w2c).reshape(*w2c.shape[:2], 4), view], dim=-1)
        return {
            "camera": camera_loss(pose, truth),
            "depth": distance_loss(depth[..., None], true_depth[..., None]),
            "points": distance_loss(points, unprojected(true_depth, w2c, batch.K)),
        }


class VideoStage(Stage):
    """A small video VAE: L1 of the pictures and a weak pull to the standard normal."""

    def __init__(self, net: Gen3RNetworks):
        super().__init__()
        self.vae = net.vae

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        clip = batch.images.transpose(1, 2)
        found = self.vae.encode(clip)
        made = self.vae.decode(found.sample(torch.randn_like(found.mean)))
        return {"pictures": (made - clip).abs().mean(), "normal": 1e-3 * divergence(found).sum() / found.mean.numel()}


def reproduce_gen3r(plan: Gen3RPlan, folder: Path, command: str) -> str:
    """Train everything in `folder`, or go on there; write report.json, report.html and curves.png. Returns the table.

    Raises Interrupted.
    """
    torch.manual_seed(0)
    net = Gen3RNetworks(MODEL)
    net.requires_grad_(False)
    rooms = Numbered(RoomClips(1, MODEL.frames, (MODEL.size, MODEL.size)))
    for name, stage, steps in (
        ("geometry", GeometryStage(net), plan.geometry_steps),
        ("vae", VideoStage(net), plan.vae_steps),
    ):
        train(stage.requires_grad_(True), rooms, steps, folder / name, plan.device)
        stage.requires_grad_(False)
    save_model(folder / "start", net, torch.float32)
    text = torch.zeros(1, MODEL.transformer.text_width)
    write_tensors(states_file(folder / "start", ""), {"states": text})
    encoding = JointStage(net, Gen3RTraining(), (text, text))
    clips, held_out = (encoded(encoding, first, n) for first, n in ((0, plan.clips), (SEED_OF_TEST, plan.test_clips)))
    weights = {
        name: {k: v.clone() for k, v in getattr(net, name).state_dict().items()} for name in ("adapter", "transformer")
    }
    figures: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for variant, alignment in VARIANTS.items():
        for name, state in weights.items():
            getattr(net, name).load_state_dict(state)
        options = Gen3RTraining(alignment=alignment)
        place = folder / variant.replace(" ", "-")
        adapter = AdapterStage(net, options)
        before = score_adapter(adapter, held_out)
        train(adapter, shuffled(clips, 1), plan.adapter_steps, place / "adapter", plan.device, options)
        after = score_adapter(adapter, held_out)
        net.adapter.requires_grad_(False)
        joint = JointStage(net, options, (text, text))
        train(joint, shuffled(clips, plan.dit_batch), plan.dit_steps, place / "dit", plan.device, options, rate=2e-3)
        net.transformer.requires_grad_(False)
        figures[variant] = {"before": before, "after": after} | score_joint(joint, clips, held_out, plan.draws)
        curves[variant] = {part: read_log(place / part) for part in ("adapter", "dit")}
    return write_gen3r_report(folder, plan, figures, curves, command)


def train(
    stage: Stage,
    data: Numbered,
    steps: int,
    folder: Path,
    device: Device,
    options: Gen3RTraining | None = None,
    rate: float = 1e-3,
) -> None:
    """Raises Interrupted where it was asked to stop."""
    optimizer = OptimizerConfig(
        learning_rate=rate,
        betas=(0.9, 0.999),
        clip=0.5,
        schedule="cosine",
        final=0.2,
        ema=0.0,
        warmup=min(10, steps // 2),
    )
    config = TrainConfig(
        stage=folder.name, steps=steps, optimizer=optimizer, precision="fp32", sample_every=0, save_every=100,
        views=MODEL.frames, gen3r=options or Gen3RTraining(), device=device,
    )  # fmt: skip
    if not Engine(stage, config, folder).fit(data):
        raise Interrupted


def encoded(stage: JointStage, first: int, count: int) -> EncodedClips:
    """Clips of the rooms first .. first + count - 1."""
    device = next(stage.parameters()).device
    parts = [
        stage.encode(render_clips([seed], MODEL.frames, MODEL.size, MODEL.size).to(device))
        for seed in range(first, first + count)
    ]
    return EncodedClips.joined(parts)


def shuffled(clips: EncodedClips, batch: int) -> Numbered:
    return Numbered(lambda n: clips.clips(np.random.default_rng([0, n]).integers(len(clips), size=batch).tolist()))


@torch.no_grad()
def score_adapter(stage: AdapterStage, clips: EncodedClips) -> dict[str, list[float]]:
    """Reconstruction loss and KL of every clip, the KL a number of the latent."""
    found: dict[str, list[float]] = {"reconstruction": [], "divergence": []}
    torch.manual_seed(1)
    for i in range(len(clips)):
        losses = stage.loss(clips.clips([i]))
        _, C, f, h, _ = clips.appearance.mean.shape
        found["reconstruction"].append(float(losses["reconstruction"]))
        found["divergence"].append(float(losses["_divergence"]) / (C * f * h))
    return found


@torch.no_grad()
def score_joint(stage: JointStage, clips: EncodedClips, held_out: EncodedClips, draws: int) -> dict[str, list[float]]:
    """Velocity loss of every held-out clip, and that of the best constant for each time and place.

    That constant is E[noise - z] = - E[z], the same at all times; its mean is taken over the training clips.
    """
    torch.manual_seed(2)
    mean = torch.stack([stage.latents(clips).mean(dim=0) for _ in range(draws)]).mean(dim=0)
    found: dict[str, list[float]] = {"velocity": [], "constant": []}
    for i in range(len(held_out)):
        clip = held_out.clips([i])
        found["velocity"].append(float(torch.stack([stage.loss(clip)["velocity"] for _ in range(draws)]).mean()))
        spread = torch.stack([(stage.latents(clip) - mean).square().mean() for _ in range(draws)])
        found["constant"].append(1 + float(spread.mean()))
    return found


def write_gen3r_report(folder: Path, plan: Gen3RPlan, figures: dict, curves: dict, command: str) -> str:
    def mean(values: Any) -> dict[str, Any]:
        return asdict(estimate(np.array(values)))

    rows = {}
    for variant, found in figures.items():
        numbers = [found[when][name] for name in ("divergence", "reconstruction") for when in ("before", "after")]
        share = np.array(found["velocity"]) / np.array(found["constant"])
        rows[variant] = [mean(x) for x in (*numbers, found["velocity"], found["constant"], share)]
    columns = [
        "KL before",
        "KL after ↓",
        "reconstruction before",
        "after ↓",
        "DiT's loss ↓",
        "best constant's",
        "share ↓",
    ]
    table = Part("With and without the KL alignment", columns=["", *columns])
    table.rows = [[name, *map(cell, cells)] for name, cells in rows.items()]
    picture = folder / "curves.png"
    with plot(picture, (12, 3.6), columns=3) as axes:
        kinds = ("adapter", "_divergence"), ("adapter", "reconstruction"), ("dit", "velocity")
        for place, (part, name) in zip(axes, kinds, strict=True):
            for variant, logs in curves.items():
                place.plot(smooth([line[name] for line in logs[part]]), label=variant)
            place.set(xlabel="steps", title=f"{part}: {name.strip('_')}", yscale="linear" if part == "dit" else "log")
            place.legend(fontsize="small")
    report = {"command": command, "revision": git_revision(), "hardware": hardware(), "plan": asdict(plan)}
    write_json(folder / "report.json", report | {"table": rows, "figures": figures})
    write_page(folder / "report.html", "Gen3R in small", [Part(code=command, picture=picture), table])
    return markdown_page([table])


def smooth(values: list[float], width: int = 15) -> np.ndarray:
    """Means of up to `width` values before each."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
