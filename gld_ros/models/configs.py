"""Configurations of every network, and of the models made of them. One place for defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class EncoderConfig:
    """Geometric foundation encoder (DA3 family). `schedule`: one letter a block, L = each view alone, G = all views."""

    width: int = 128
    heads: int = 4
    patch: int = 8
    position_grid: int = 12
    schedule: str = "LGLGLGLG"
    taps: tuple[int, ...] = (1, 3, 5, 7)
    #: Before this block token 0 becomes the camera token (first view / other views).
    camera_token_from: int = 0
    qk_norm_from: int = 0
    rope_from: int = 0
    block_eps: float = 1e-6
    norm_eps: float = 1e-5
    layer_scale: float = 1.0
    #: DA3 samples its position table at (grid + 0.1) / table instead of the true ratio: compat, for its weights only.
    position_offset: float = 0.0

    @property
    def channels(self) -> int:
        """Channels of a level: local stream | global stream."""
        return 2 * self.width


@dataclass(frozen=True)
class DPTConfig:
    """DualDPT geometry head: depth and rays from the four levels."""

    features: int = 32
    out_channels: tuple[int, ...] = (32, 48, 64, 96)
    aux_convs: int = 1
    hidden: int = 32


@dataclass(frozen=True)
class MatchingConfig:
    """Plane-sweep depth of posed sources."""

    features: int = 16
    planes: int = 32
    widths: tuple[int, ...] = (48, 64, 96)
    #: Planes span these ratios baseline / depth, evenly in the square root.
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


@dataclass(frozen=True)
class CompositorConfig:
    """Pixel network that joins the decoded view with the warped sources; None in models without warping."""

    widths: tuple[int, ...] = (32, 48, 64)


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
    #: Channels of the level the cascade is conditioned on; 0 for a model of the first stage.
    cascade_channels: int = 0
    #: "velocity" (released) or "residual": x0 = condition + network.
    prediction: str = "residual"
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class FlowConfig:
    """Flow path x_t = (1 - t) data + t noise and its time grid."""

    shift: float = 3.0
    steps: int = 1
    #: Last time of the linear grid before the shift: 0.001 in the released models, 0 = down to the data.
    t_end: float = 0.0
    guidance_scale: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """A whole GLD: encoder, heads, decoder, two diffusion stages."""

    name: str = "mini"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dpt: DPTConfig = field(default_factory=DPTConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    rgb: RGBDecoderConfig = field(default_factory=RGBDecoderConfig)
    compositor: CompositorConfig = field(default_factory=CompositorConfig)
    level1: DiTConfig = field(default_factory=lambda: DiTConfig(split_embedders=True))
    cascade: DiTConfig = field(default_factory=lambda: DiTConfig(depth=2, cascade_channels=256))
    flow: FlowConfig = field(default_factory=FlowConfig)
    #: Patches of one view the model works at; images are resized to about as many, keeping their aspect.
    patches: int = 108
    max_sources: int = 4


def to_dict(config: Any) -> dict:
    """A config as plain JSON values."""
    return asdict(config)


def from_dict(kind: type, values: dict) -> Any:
    """A config from `to_dict`'s output; unknown keys are an error."""
    hints = get_type_hints(kind)
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown fields {sorted(unknown)}")
    return kind(**{k: _restore(hints[k], v) for k, v in values.items()})


def _restore(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, value)
    return tuple(value) if isinstance(value, list) else value
