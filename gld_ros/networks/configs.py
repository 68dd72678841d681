# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Configurations of every network, and of the models made of them. One place for defaults."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class StemConfig:
    """Vision transformer between the patches and the encoder's blocks (VGGT: DINOv2-L)."""

    depth: int = 24
    heads: int = 16
    registers: int = 4
    eps: float = 1e-6
    layer_scale: float = 1.0


@dataclass(frozen=True)
class EncoderConfig:
    """Geometric foundation encoder. `schedule`: one letter a block, L = each view alone, G = all views."""

    width: int = 128
    heads: int = 4
    patch: int = 8
    position_grid: int = 12
    schedule: str = "LGLGLGLG"
    taps: tuple[int, ...] = (1, 3, 5, 7)
    #: None: patches enter the blocks directly (DA3).
    stem: StemConfig | None = None
    #: Learned tokens beside the camera token (VGGT: 4).
    registers: int = 0
    #: Before this block token 0 becomes the camera token (first view / other views). Without a stem only.
    camera_token_from: int = 0
    qk_norm_from: int = 0
    rope_from: int = 0
    block_eps: float = 1e-6
    norm_eps: float = 1e-5
    layer_scale: float = 1.0
    #: Rotary positions in blocks over all views: "flat", every patch alike (DA3), or "grid", row and column (VGGT).
    global_rope: str = "flat"
    #: True: decoders read the global stream through a last LayerNorm.
    final_norm: bool = True
    #: compat: DA3 samples its position table at (grid + 0.1) / table instead of the true ratio.
    position_offset: float = 0.0
    #: Low-pass filter where the position table shrinks (VGGT).
    position_antialias: bool = False

    @property
    def channels(self) -> int:
        """Channels of a level: local stream | global stream."""
        return 2 * self.width

    @property
    def specials(self) -> int:
        """Tokens of a view in front of its patches."""
        return 1 + self.registers


@dataclass(frozen=True)
class DPTConfig:
    """DPT geometry head: depth and, with a second chain, rays from the four levels."""

    features: int = 32
    out_channels: tuple[int, ...] = (32, 48, 64, 96)
    #: Convolutions of the ray chain's neck; 0: a head without rays (VGGT).
    aux_convs: int = 1
    hidden: int = 32
    #: compat: VGGT's in-place ReLU makes the skip of every residual unit relu(x) instead of x.
    relu_skip: bool = False


@dataclass(frozen=True)
class MatchingConfig:
    """Plane-sweep depth of posed sources."""

    features: int = 16
    planes: int = 32
    widths: tuple[int, ...] = (48, 64, 96)
    #: Channels compared, planes and widths of a second sweep at full resolution, about what the first one found.
    fine_features: int = 12
    fine_planes: int = 9
    fine_widths: tuple[int, ...] = (32, 48)
    #: Planes of the first sweep span these ratios baseline / depth, evenly in the square root.
    nearest: float = 0.8
    farthest: float = 0.01


@dataclass(frozen=True)
class RGBDecoderConfig:
    """MAE-like image decoder on the four levels."""

    width: int = 160
    depth: int = 3
    heads: int = 5
    hidden: int = 640
    base_grid: int = 12
    eps: float = 1e-12
    #: Pixels painted for each encoded one, a side.
    upscale: int = 1
    #: Channels of the convolutions after the transformer; 0: none, each patch is painted alone (released models).
    tail: int = 0


@dataclass(frozen=True)
class DiTCompat:
    """Quirks of a released diffusion stage, which its weights were trained with (spec gld.md). Own models: none."""

    #: PRoPE multiplies keys and values by inv(viewmat) lift(K), where the published method has lift(inv(K)).
    uninverted_intrinsics: bool = False
    #: Side of the square image that PRoPE normalises K by whatever the real size; 0: the real size.
    fixed_image_size: int = 0
    #: The unconditional branch of guidance replaces K by the identity; otherwise it keeps K.
    identity_null_intrinsics: bool = False


@dataclass(frozen=True)
class DiTConfig:
    """Multi-view DiT with a DDT head (spec gld.md)."""

    width: int = 128
    depth: int = 4
    heads: int = 4
    head_width: int = 256
    head_depth: int = 1
    head_heads: int = 8
    #: Camera map channels: mask, ray, moment, and for warp-conditioned models the share seen by some source.
    camera_channels: int = 8
    #: Separate embedders for sources and targets.
    split_embedders: bool = False
    #: Channels of level 1, which level 0 is made from; 0: none (level 1, or level 0 diffused independently).
    level1_channels: int = 0
    #: Tokens of a view in front of its patches that are diffused with them (VGGT: 5).
    special_tokens: int = 0
    #: "velocity" (released), "data" or "regression" (diffusion/flow.py).
    prediction: str = "data"
    mlp_ratio: float = 4.0
    compat: DiTCompat = field(default_factory=DiTCompat)


@dataclass(frozen=True)
class FlowConfig:
    """Flow path x_t = (1 - t) data + t noise, its time grid, and how the stages are sampled unless asked otherwise."""

    shift: float = 3.0
    #: Numbers in one view's latent; if given, the shift is sqrt(shift_dim * views / 4096) instead (released models).
    shift_dim: int = 0
    steps: int = 1
    #: Last time of the linear grid before the shift: 0.001 in the released models, 0 = down to the data.
    t_end: float = 0.0
    guidance_scale: float = 1.0
    #: Times of the linear grid between which guidance is applied.
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    #: Steps and guidance of level 0 where they are its own (few-step models); 0: those above.
    level0_steps: int = 0
    level0_guidance: float = 0.0
    #: Steps of level 1 where all targets are near the sources, so that little has to be made up; 0: those above.
    near_steps: int = 0
    #: Solver of both stages (`diffusion.sampler.SOLVERS`).
    solver: str = "euler"

    def sampling(self, stage: str, steps: int | None = None, guidance_scale: float | None = None) -> tuple[int, float]:
        """Steps and guidance of a stage, "level1" or "level0": those asked for, otherwise the model's own."""
        own = self.steps, self.guidance_scale
        if stage == "level0":
            own = self.level0_steps or own[0], self.level0_guidance or own[1]
        return steps or own[0], own[1] if guidance_scale is None else guidance_scale


@dataclass(frozen=True)
class Compat:
    """Quirks of the released pipeline as a whole (spec gld.md). Own models: none."""

    #: Centre of the first pixel for the camera map (x, y); the released code has (-0.5, 0.5).
    pixel_offset: tuple[float, float] = (0.5, 0.5)
    #: PRoPE gets w2c in the caller's frame with only its translation scaled, not relative to the last view. That makes
    #: a difference where special tokens, which PRoPE leaves alone, meet patches (VGGT).
    world_frame_poses: bool = False
    #: Special tokens of level 0 are normalised with the statistics of level 1.
    level1_special_statistics: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """A whole GLD: encoder, heads, decoder, two diffusion stages. It generates all views of a request together.

    `matching` is warp conditioning: posed depth carries the sources into every target, and their features are the
    target's part of the condition. None: that part is empty, as in the released models.
    """

    name: str = "mini"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    #: None: a released model whose geometry head's weights are not at hand; it makes images, but no views.
    dpt: DPTConfig | None = field(default_factory=DPTConfig)
    matching: MatchingConfig | None = field(default_factory=MatchingConfig)
    rgb: RGBDecoderConfig = field(default_factory=lambda: RGBDecoderConfig(upscale=2, tail=32))
    level1: DiTConfig = field(
        default_factory=lambda: DiTConfig(
            width=192, depth=5, heads=6, head_width=192, head_heads=6, split_embedders=True
        )
    )
    level0: DiTConfig = field(
        default_factory=lambda: DiTConfig(depth=2, head_width=160, head_heads=5, level1_channels=256)
    )
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(shift=6.0, steps=8, level0_steps=1, near_steps=1))
    #: Patches of one view the model works at; images are resized to about as many, keeping their aspect.
    patches: int = 108
    #: Longest side of the images the model works at, pixels; 0: as `patches` says.
    long_side: int = 0
    max_sources: int = 4
    #: Sources and targets of a request together; 0: no limit.
    max_views: int = 12
    compat: Compat = field(default_factory=Compat)

    @property
    def warps(self) -> bool:
        """True for models that are conditioned on the warped sources."""
        return self.matching is not None
