# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of a model read from the shapes of its tensors, so that what is built is what the files hold.

Every size is voted on by several tensors: one wrong tensor is then reported as that tensor, not as a network of another
size. Not read, but taken from the released model or a config.json: what shapes do not tell (head counts, schedule,
taps), and what tells two published networks apart (embedders, special tokens, conditioning), so that files that were
swapped do not pass.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from gld_ros.errors import ModelError
from gld_ros.networks.configs import DiTConfig, DPTConfig, EncoderConfig, RGBDecoderConfig

HEAD_DIM = 64  # of every published encoder


class Shapes:
    """Shapes of a network's tensors by published key, without its prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = ""):
        self._shapes = {k.removeprefix(prefix): tuple(v.shape) for k, v in tensors.items() if k.startswith(prefix)}

    def sizes(self, *places: tuple[str, int]) -> list[int]:
        """Sizes at (key, axis), of the keys that there are."""
        return [self._shapes[key][axis] for key, axis in places if axis < len(self._shapes.get(key, ()))]

    def vote(self, default: int, *places: tuple[str, int]) -> int:
        """The most frequent of the sizes at (key, axis); `default` where there is none of the keys."""
        return majority(self.sizes(*places), default)

    def count(self, prefix: str) -> int:
        """How many numbered layers `prefix`0, `prefix`1, ... there are; a lone key is no layer."""
        rests = (key.removeprefix(prefix) for key in self._shapes if key.startswith(prefix))
        keys = Counter(rest.split(".")[0] for rest in rests)
        n = 0
        while keys[str(n)] > 1:
            n += 1
        return n


def majority(sizes: list[int], default: int = 0) -> int:
    """The most frequent size."""
    return Counter(sizes).most_common(1)[0][0] if sizes else default


def read_encoder(base: EncoderConfig, shapes: Shapes) -> EncoderConfig:
    """`base` with the sizes of an encoder's tensors."""
    if base.stem is None:
        blocks = [f"blocks.{i}." for i in range(len(base.schedule))]
        places = [("cls_token", 2), ("pos_embed", 2)]
        table, schedule, stem = "pos_embed", base.schedule, None
    else:
        pairs = shapes.count("frame_blocks.")
        blocks = [f"frame_blocks.{i}." for i in range(pairs)]
        places = [("camera_token", 3), ("register_token", 3)]
        table, schedule = "patch_embed.pos_embed", "LG" * pairs or base.schedule
        stem = replace(
            base.stem,
            depth=shapes.count("patch_embed.blocks.") or base.stem.depth,
            registers=shapes.vote(base.stem.registers, ("patch_embed.register_tokens", 1)),
        )
    width = shapes.vote(base.width, *places, *((f"{block}norm1.weight", 0) for block in blocks))
    head_dim = shapes.vote(HEAD_DIM, *((f"{block}attn.q_norm.weight", 0) for block in blocks))
    if stem and stem.heads * HEAD_DIM != width:
        stem = replace(stem, heads=max(width // HEAD_DIM, 1))
    if base.taps[-1] >= len(schedule):
        raise ModelError(f"its {len(schedule)} blocks do not reach the levels' taps {base.taps}")
    return replace(
        base,
        width=width,
        heads=width // head_dim if width % head_dim == 0 else base.heads,
        position_grid=_side(shapes.vote(0, (table, 1)) - 1, base.position_grid),
        schedule=schedule,
        stem=stem,
    )


def read_dpt(base: DPTConfig, shapes: Shapes) -> DPTConfig:
    """`base` with the sizes of a geometry head's tensors."""
    channels = [
        shapes.vote(old, (f"projects.{k}.weight", 0), (f"projects.{k}.bias", 0), (f"scratch.layer{k + 1}_rn.weight", 1))
        for k, old in enumerate(base.out_channels)
    ]
    return replace(
        base,
        out_channels=tuple(channels),
        features=shapes.vote(base.features, *((f"scratch.layer{k}_rn.weight", 0) for k in (1, 2, 3, 4))),
        hidden=shapes.vote(
            base.hidden,
            *(
                (f"scratch.output_conv2.{name}", axis)
                for name, axis in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1))
            ),
        ),
        aux_convs=max(shapes.count(f"scratch.output_conv1_aux.{k}.") for k in range(4)),
    )


def read_rgb(base: RGBDecoderConfig, shapes: Shapes) -> RGBDecoderConfig:
    """`base` with the sizes of an RGB decoder's tensors."""
    depth = shapes.count("decoder_layers.")
    layers = [f"decoder_layers.{i}.intermediate.dense" for i in range(depth)]
    width = shapes.vote(base.width, ("decoder_norm.weight", 0), ("decoder_norm.bias", 0), ("trainable_cls_token", 2))
    return replace(
        base,
        width=width,
        depth=depth or base.depth,
        hidden=shapes.vote(base.hidden, *((f"{layer}.{name}", 0) for layer in layers for name in ("weight", "bias"))),
        base_grid=_side(shapes.vote(0, ("decoder_pos_embed", 1)) - 1, base.base_grid),
    )


def read_dit(base: DiTConfig, shapes: Shapes, channels: int) -> DiTConfig:
    """`base` with the sizes of a diffusion stage's tensors; channels: of a level."""
    width = shapes.vote(
        base.width, ("t_embedder.mlp.0.bias", 0), ("t_embedder.mlp.2.bias", 0), ("s_projector.weight", 1)
    )
    head_width = shapes.vote(
        base.head_width, ("s_projector.bias", 0), ("s_projector.weight", 0), ("final_layer.linear.weight", 1)
    )
    total = shapes.count("blocks.")
    widths = [
        shapes.vote(0, *((f"blocks.{i}.{name}.weight", 0) for name in ("norm1", "norm2", "attn.proj")))
        for i in range(total)
    ]
    depth = widths.index(head_width) if width != head_width and head_width in widths else total - base.head_depth
    if not 0 < depth < total:  # not the tensors of a diffusion stage at all
        depth, total = base.depth, base.depth + base.head_depth
    hidden = {}
    for size, first, last in ((width, 0, depth), (head_width, depth, total)):
        mlps = [f"blocks.{i}.mlp." for i in range(first, last)]
        doubled = shapes.sizes(*((f"{mlp}w12.{name}", 0) for mlp in mlps for name in ("weight", "bias")))
        hidden[size] = majority([n // 2 for n in doubled] + shapes.sizes(*((f"{mlp}w3.weight", 1) for mlp in mlps)))
    return replace(
        base,
        width=width,
        depth=depth,
        head_width=head_width,
        head_depth=total - depth,
        camera_channels=shapes.vote(base.camera_channels, ("camera_embedder.proj.weight", 1)),
        level1_channels=channels if base.level1_channels else 0,
        mlp_ratio=_ratio(base.mlp_ratio, hidden),
    )


def check_heads(section: str, field: str, width: int, heads: int) -> None:
    """Raise ModelError unless the channels split into that many heads of a multiple of 8 channels."""
    if width % heads or width // heads % 8:
        raise ModelError(
            f"{section}: {width} channels do not split into {heads} heads of a multiple of 8 channels; no tensor tells "
            f'their number: give it in config.json, {{"model": {{"{section}": {{"{field}": N}}}}}}'
        )


def swiglu_hidden(width: int, ratio: float) -> int:
    """Hidden channels of a diffusion block's MLP."""
    return int(2 / 3 * int(ratio * width))


def _side(patches: int, default: int) -> int:
    side = math.isqrt(max(patches, 0))
    return side if side and side * side == patches else default


def _ratio(base: float, hidden: Mapping[int, int]) -> float:
    """The MLP ratio that gives these hidden sizes {width: hidden}."""
    lowest = [math.ceil(1.5 * size) / width for width, size in hidden.items() if size]
    for ratio in (base, *lowest):
        if all(swiglu_hidden(width, ratio) == size for width, size in hidden.items() if size):
            return ratio
    return base
