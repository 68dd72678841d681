# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of Gen3R (arXiv 2601.04090; spec gen3r.md, "Training"): the geometry adapter, then the transformer.

VGGT, the video VAE and the image tower are frozen. What they make of a clip is computed once (`EncodedClips`), so that
small experiments can keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.data.clips import ClipBatch
from gld_ros.diffusion.flow import shifted_training_grid
from gld_ros.networks.gen3r.conditions import condition, eight_bits, no_rays, packed_rays, padded_clip, rays
from gld_ros.networks.gen3r.geometry import LEVELS, GeometryHeads, levels_of, token_maps
from gld_ros.networks.gen3r.latents import Posterior, joined
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.training.config import Gen3RTraining
from gld_ros.training.gen3r_losses import alignment_weight, camera_loss, distance_loss, divergence
from gld_ros.training.stage import Stage

#: Where smooth L1 becomes linear, for image tokens and for the camera token.
TOKEN_BETA, CAMERA_BETA = 0.15, 0.1
#: Weights of the reconstruction, of the similarity, and of camera and depth inside the reconstruction.
RECONSTRUCTION, SIMILARITY, CAMERA, DEPTH = 0.5, 0.1, 10.0, 2.0
#: The divergence counts so much once it is on the scale of the reconstruction.
ALIGNED = 0.1


@dataclass
class EncodedClips:
    """B clips as the frozen networks encode them. images: (B, F, 3, H, W) in 0..1; K, c2w: (B, F, 3, 3), (B, F, 4, 4);
    tokens: (B, C, F, h, w) maps of VGGT; appearance: posterior of the clip; given: posteriors of the clip black but
    for its first frame, and for its first and last; picture: (B, T, C) tokens of the first image. The last two are
    None where no transformer is trained."""

    images: Tensor
    K: Tensor
    c2w: Tensor
    tokens: Tensor
    appearance: Posterior
    given: dict[int, Posterior] | None = None
    picture: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> EncodedClips:
        return self._each(lambda x: x.to(device))

    def clips(self, indices: list[int]) -> EncodedClips:
        """These of its clips."""
        return self._each(lambda x: x[indices])

    @classmethod
    def joined(cls, parts: list[EncodedClips]) -> EncodedClips:
        """All clips of several batches."""
        return cls(**{name: _joined([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def _each(self, change: Callable[[Tensor], Tensor]) -> EncodedClips:
        return EncodedClips(**{name: _changed(value, change) for name, value in vars(self).items()})


class Gen3RStage(Stage):
    """The common part of both stages: the frozen networks and their encoding of clips."""

    frozen: tuple[str, ...] = ("encoder", "vae")

    def __init__(self, net: Gen3RNetworks, options: Gen3RTraining):
        super().__init__()
        self.options = options
        self.encoder, self.vae, self.adapter = net.encoder, net.vae, net.adapter

    @torch.no_grad()
    def encode(self, batch: ClipBatch) -> EncodedClips:
        """Raises InvalidRequest for clips that are not of 4 n + 1 frames."""
        tokens = joined(token_maps(self.encoder(batch.images)))
        return EncodedClips(batch.images, batch.K, batch.c2w, tokens, self.vae.encode(batch.images.transpose(1, 2)))


class AdapterStage(Gen3RStage):
    """The adapter as a VAE of VGGT's tokens, whose posterior is drawn to that of the video VAE."""

    frozen = (*Gen3RStage.frozen, "heads")

    def __init__(self, net: Gen3RNetworks, options: Gen3RTraining):
        super().__init__(net, options)
        self.heads = net.heads
        self.adapter.requires_grad_(True)

    def loss(self, batch: ClipBatch | EncodedClips) -> dict[str, Tensor]:
        clips = self.encode(batch) if isinstance(batch, ClipBatch) else batch
        found = self.adapter.encode(clips.tokens)
        tokens = self.adapter.decode(found.sample(torch.randn_like(found.mean)))
        rebuilt = RECONSTRUCTION * self.reconstruction(tokens, clips)
        apart = divergence(found, clips.appearance).mean()
        losses = {"reconstruction": rebuilt, "similarity": SIMILARITY * dissimilarity(tokens, clips.tokens)}
        if self.options.alignment:
            weight = ALIGNED * alignment_weight(rebuilt.item(), apart.item())
            losses["alignment"] = self.options.alignment * weight * apart
        return losses | {"_divergence": apart}

    def reconstruction(self, tokens: Tensor, clips: EncodedClips) -> Tensor:
        """The losses of the token maps themselves, and of what VGGT's heads read in them."""
        (image, camera), (true_image, true_camera) = parts(tokens), parts(clips.tokens)
        loss = F.smooth_l1_loss(image, true_image, beta=TOKEN_BETA)
        loss = loss + F.smooth_l1_loss(camera.mean((-1, -2)), true_camera.mean((-1, -2)), beta=CAMERA_BETA)
        size = (clips.images.shape[-2], clips.images.shape[-1])
        with torch.no_grad():
            truth = read(self.heads, clips.tokens, size)
        pose, depth, points = read(self.heads, tokens, size)
        loss = loss + CAMERA * camera_loss(pose, truth[0])
        return loss + DEPTH * distance_loss(depth[..., None], truth[1][..., None]) + distance_loss(points, truth[2])


class JointStage(Gen3RStage):
    """The transformer over [appearance | geometry], from one view, two or all, with cameras and text or without."""

    frozen = (*Gen3RStage.frozen, "adapter", "image")
    has_unused_parameters = True

    def __init__(self, net: Gen3RNetworks, options: Gen3RTraining, text: tuple[Tensor, Tensor]):
        """text: states (T, width) of the prompt and of the empty one."""
        super().__init__(net, options)
        self.image, self.transformer, self.text = net.image, net.transformer.requires_grad_(True), text
        self.times = shifted_training_grid(net.config.shift)

    @torch.no_grad()
    def encode(self, batch: ClipBatch) -> EncodedClips:
        clips, images = super().encode(batch), batch.images
        last = images.shape[1] - 1
        clips.given = {n: self.vae.encode(padded_clip(images[:, [0, last][:n]], last + 1)) for n in (1, 2)}
        clips.picture = torch.cat([self.image(eight_bits(image)) for image in images[:, 0]])
        return clips

    @torch.no_grad()
    def latents(self, clips: EncodedClips) -> Tensor:
        """(B, 16, f, h, 2w): draws from both posteriors."""
        both = clips.appearance, self.adapter.encode(clips.tokens)
        return torch.cat([half.sample(torch.randn_like(half.mean)).float() for half in both], dim=-1)

    def loss(self, batch: ClipBatch | EncodedClips) -> dict[str, Tensor]:
        clips = self.encode(batch) if isinstance(batch, ClipBatch) else batch
        assert clips.given is not None and clips.picture is not None
        z = self.latents(clips)
        B, frames, device = len(z), clips.images.shape[1], z.device
        task = (1, 2, frames)[int(torch.randint(3, ()))]
        known = clips.appearance if task == frames else clips.given[task]
        cond = condition(known.sample(torch.randn_like(known.mean)).float(), task, frames)
        keep_text = (torch.rand(B) >= self.options.text_dropout).tolist()
        prompt, empty = (text.to(device) for text in self.text)
        context = self.transformer.context_of([prompt if keep else empty for keep in keep_text], clips.picture)
        control = self.transformer.control_of(self.rays(clips))
        sigma = self.times[torch.randint(len(self.times), (B,))].to(device)
        share, noise = sigma[:, None, None, None, None], torch.randn_like(z)
        velocity = self.transformer((1 - share) * z + share * noise, cond, 1000 * sigma, context, control)
        error = velocity - (noise - z)
        # As released: what is far off counts as nothing, and the mean is over all.
        return {"velocity": (error.square() * (error.abs() <= self.options.largest_error)).mean()}

    def rays(self, clips: EncodedClips) -> Tensor:
        """Packed rays of the whole batch, or none of it."""
        frames, size = clips.images.shape[1], (clips.images.shape[-2], clips.images.shape[-1])
        if torch.rand(()) < self.options.camera_dropout:
            return no_rays(frames, size, clips.images).expand(len(clips.images), -1, -1, -1, -1)
        return torch.cat([packed_rays(rays(K, c2w, size)) for K, c2w in zip(clips.K, clips.c2w, strict=True)])


def parts(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The four levels of token maps, and the camera token."""
    channels = tokens.shape[1] // (LEVELS + 1)
    return tokens[:, :-channels], tokens[:, -channels:]


def dissimilarity(tokens: Tensor, truth: Tensor) -> Tensor:
    """2 - the cosines between image tokens and between camera tokens."""
    cosines = [F.cosine_similarity(a, b, dim=1).mean() for a, b in zip(parts(tokens), parts(truth), strict=True)]
    return 2 - cosines[0] - cosines[1]


def read(heads: GeometryHeads, tokens: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Encodings of cameras of every iteration, depth (B, F, H, W) and points (B, F, H, W, 3), with gradients."""
    levels, camera = levels_of(tokens)
    grid = (tokens.shape[-2], tokens.shape[-1])
    depth, (points, _) = heads.depth_head(levels, grid, size).depth, heads.point_head(levels, grid, size)
    return heads.camera_head(camera), depth, points


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A tensor, or the tensors of a posterior or of a dictionary, changed."""
    if isinstance(value, Posterior):
        return Posterior(change(value.mean), change(value.logvar))
    if isinstance(value, dict):
        return {key: _changed(item, change) for key, item in value.items()}
    return None if value is None else change(value)


def _joined(values: list[Any]) -> Any:
    """One batch of several, in their order."""
    first = values[0]
    if isinstance(first, Posterior):
        return Posterior(*(torch.cat([getattr(v, name) for v in values]) for name in ("mean", "logvar")))
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values]) for key in first}
    return None if first is None else torch.cat(values)
