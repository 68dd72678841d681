# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a training run, with its default; read from YAML and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.plain import from_dict, to_dict

STAGES = ("encoder", "rgb-decoder", "level1", "level0")
DIFFUSION = STAGES[2:]
#: Fields that change neither the model nor the order of the data: a run may be resumed with others.
FREE = ("workers", "device", "save_every", "keep", "sample_every", "bad_steps", "discriminator.weights", "lpips")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser, its schedule, and the average of the weights; the defaults are those of the released DiTs."""

    #: "adamw", or "muon": Muon for the matrices of transformer blocks, AdamW for all other parameters.
    kind: str = "adamw"
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    #: Largest norm of the gradient of one step; 0: no limit.
    clip: float = 1.0
    #: "constant", "cosine" or "linear", after a linear warm-up, down to `final` times the rate at `decay_steps`.
    schedule: str = "constant"
    warmup: int = 0
    final: float = 0.0
    #: 0: the whole run.
    decay_steps: int = 0
    ema: float = 0.9995
    #: Average over fewer steps at first, (1 + n) / (10 + n), so that short runs forget their beginning.
    ema_warmup: bool = False


@dataclass(frozen=True)
class Distillation:
    """A stage of `start` becomes a few-step student of itself (training/distillation.py)."""

    #: Steps the student is to sample with; 0: no distillation.
    windows: int = 0
    #: Steps of the teacher in one window.
    teacher_steps: int = 8
    #: The teacher's guidance, which the student learns with all else; up to 1: none.
    guidance: float = 1.0


@dataclass(frozen=True)
class FlowTraining:
    """Of the stages level1 and level0. What the network predicts is `model.level1.prediction`."""

    #: Level that is diffused; -1: the stage's own (level1: the boundary 1, level0: 0).
    level: int = -1
    #: Level of all views that the network is given, noised; -1: level 0's own 1; -2: none (independent).
    given: int = -1
    #: The given truth becomes (truth + s noise) / sqrt(1 + s^2) with s = |normal| times this, one s a scene.
    given_noise: float = 0.0
    #: Numbers in one view's latent that the time shift of the training follows from; 0: as the model's `flow` says.
    #: (The released code trains with that of 504 x 504 images and samples with a smaller one.)
    shift_dim: int = 0
    #: Smallest and largest number of sources of a batch.
    sources: tuple[int, int] = (1, 4)
    camera_dropout: float = 0.1
    #: Batches over which latent statistics are taken before the first step, for levels that have none in `start`.
    statistics_batches: int = 0
    #: Steps and guidance of the sample sheets.
    sample_steps: int = 20
    sample_guidance: float = 1.5
    distill: Distillation = field(default_factory=Distillation)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Of the RGB decoder's adversarial loss."""

    #: "none", "conv" (a small one on pixels, trained from scratch) or "dino" (heads on frozen DINO ViT-S/8 features).
    kind: str = "none"
    #: For "dino": the published weights (a .pth or .safetensors file).
    weights: str = ""
    width: int = 32
    weight: float = 0.75
    #: Bound of the adaptive weight |gradient of L1 + LPIPS| / |gradient of the adversarial loss|.
    max_weight: float = 1e4
    #: Steps after which the discriminator is trained, and after which it counts.
    train_after: int = 0
    use_after: int = 0
    #: Side of the random crops it sees; 0: whole images.
    crop: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """One run of one stage. Steps are optimiser steps; one sees batch x accumulation x processes scenes."""

    stage: str = "level1"
    #: Model (name or folder) that gives all networks this run does not train; empty: all are new.
    start: str = ""
    #: Go on from the weights of `start` for the trained networks too.
    fine_tune: bool = False
    #: Fields of ModelConfig that differ from those of `start` (of the defaults without it).
    model: dict[str, Any] = field(default_factory=dict)
    #: What to train on: lines for `data.scenes.open_scenes` with their weights (docs/data.md). "fresh-rooms:" stands
    #: alone: procedural rooms of 4 views, rendered in the loader.
    data: dict[str, float] = field(default_factory=lambda: {"fresh-rooms:": 1.0})
    #: Views of a scene, and the (width, height) of the images; one size a batch.
    views: int = 8
    sizes: tuple[tuple[int, int], ...] = ((504, 504), (504, 378), (504, 336), (504, 280))
    #: Processes that load data, per training process; 0: the training process itself.
    workers: int = 4
    #: Scenes of one micro step of one process.
    batch: int = 1
    accumulation: int = 1
    steps: int = 175_000
    seed: int = 0
    #: "bf16" (parameters stay float32) or "fp32".
    precision: str = "bf16"
    #: "auto", "cpu" or "cuda".
    device: str = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    flow: FlowTraining = field(default_factory=FlowTraining)
    #: Probability that the RGB decoder does not get one of the levels of a view.
    level_dropout: float = 0.5
    #: Share of the batches whose upper levels follow from level 1 with the first view's camera token, as at inference
    #: (stages encoder, rgb-decoder).
    propagation: float = 0.0
    #: Weight of LPIPS beside L1, and the folder of its weights (see metrics/lpips.py); without: no LPIPS.
    lpips_weight: float = 1.0
    lpips: str = ""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    #: Steps between checkpoints, how many are kept, steps between sample sheets (0: none).
    save_every: int = 1000
    keep: int = 2
    sample_every: int = 1000
    #: Steps in a row without a finite gradient after which the run ends.
    bad_steps: int = 20

    def model_config(self, start: ModelConfig | None = None) -> ModelConfig:
        """The configuration of the model that the run makes."""
        try:
            return from_dict(ModelConfig, merged(to_dict(start or ModelConfig()), self.model))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"model: {error}") from error

    def check(self) -> TrainConfig:
        """Return self, or raise InvalidRequest naming a field that cannot be."""
        choices = {
            "optimizer.kind": (self.optimizer.kind, ("adamw", "muon")),
            "optimizer.schedule": (self.optimizer.schedule, ("constant", "cosine", "linear")),
            "precision": (self.precision, ("bf16", "fp32")),
            "device": (self.device, ("auto", "cpu", "cuda")),
            "discriminator.kind": (self.discriminator.kind, ("none", "conv", "dino")),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise InvalidRequest(f"{name} is '{value}', expected one of {', '.join(allowed)}")
        for name in ("views", "batch", "accumulation", "steps", "save_every", "keep", "bad_steps"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} is {getattr(self, name)}, expected at least 1")
        least, most = self.flow.sources
        if not 1 <= least <= most < self.views and self.stage in DIFFUSION:
            raise InvalidRequest(f"flow.sources is {least}..{most}, expected 1 <= .. < views = {self.views}")
        if self.flow.distill.windows and self.stage in DIFFUSION:
            self._check_distillation()
        if not 0 <= self.level_dropout < 1:
            raise InvalidRequest(f"level_dropout is {self.level_dropout}, expected 0 <= .. < 1")
        return self

    def _check_distillation(self) -> None:
        distill = self.flow.distill
        for name in ("windows", "teacher_steps"):
            if getattr(distill, name) < 1:
                raise InvalidRequest(f"flow.distill.{name} is {getattr(distill, name)}, expected at least 1")
        if not (self.start and self.fine_tune):
            raise InvalidRequest("flow.distill: the teacher is the stage of start=, and fine_tune: true is needed")
        if self.flow.shift_dim:
            raise InvalidRequest("flow.distill: windows are those of sampling, flow.shift_dim cannot be given with it")


def load_config(path: Path | None, changes: Sequence[str] = (), **forced: Any) -> TrainConfig:
    """A YAML file's settings, then `key=value` changes (dotted keys reach inside), then `forced` fields.

    Raises InvalidRequest for an unreadable file, unknown keys and values that cannot be.
    """
    values: dict[str, Any] = {}
    yaml = YAML(typ="safe", pure=True)
    if path is not None:
        try:
            values = yaml.load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise InvalidRequest(f"{path}: not a readable YAML file ({error})") from error
        if not isinstance(values, dict):
            raise InvalidRequest(f"{path}: holds a {type(values).__name__}, expected a mapping of settings")
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise InvalidRequest(f"--set {change}: expected key=value")
        try:
            value = yaml.load(text)
        except YAMLError as error:
            raise InvalidRequest(f"--set {change}: not a readable YAML value ({error})") from error
        values = changed(values, key.strip().split("."), value)
    for name, value in forced.items():
        if values.get(name, value) != value:
            raise InvalidRequest(f"{path}: {name} is '{values[name]}', but '{value}' was asked for")
    return restored(values | forced)


def restored(values: dict[str, Any]) -> TrainConfig:
    """A checked configuration from plain values."""
    try:
        values = values | {"sizes": tuple(tuple(size) for size in values["sizes"])} if "sizes" in values else values
        checked_types(TrainConfig(), values)
        return from_dict(TrainConfig, values).check()
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"training configuration: {error}") from error


def checked_types(defaults: Any, values: dict[str, Any], where: str = "") -> None:
    """Raise TypeError where a value is of another kind than its default: YAML reads 5e-5 as a text, for one."""
    for f in fields(defaults):
        if f.name not in values:
            continue
        default, value = getattr(defaults, f.name), values[f.name]
        if hasattr(default, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise TypeError(f"{where}{f.name} is '{value}', expected settings of its own")
            checked_types(default, value, f"{where}{f.name}.")
            continue
        kinds = {float: (int, float), tuple: (list, tuple)}.get(type(default), (type(default),))
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise TypeError(f"{where}{f.name} is {value!r}, expected a {type(default).__name__}")


def changed(values: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """`values` with what lies under the keys a, b, ... replaced."""
    if keys[1:]:
        inner = values.get(keys[0])
        value = changed(inner if isinstance(inner, dict) else {}, keys[1:], value)
    return values | {keys[0]: value}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, mapping by mapping; a change to None or of another kind replaces."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def differences(saved: dict[str, Any], current: TrainConfig) -> list[str]:
    """What keeps a run from being resumed: "field: saved value, now value" for every field that is not FREE."""
    old, new = flattened(saved), flattened(plain(current))
    free = set(FREE) | ({"steps"} if current.optimizer.schedule == "constant" else set())
    defaults = flattened(plain(TrainConfig()))
    later = [key for key in new if key not in old and new[key] != defaults.get(key)]  # fields older runs did not have
    keys = [key for key in old if old[key] != new.get(key)] + later
    return [f"{key}: {old.get(key)!r}, now {new.get(key)!r}" for key in keys if key not in free]


def plain(config: TrainConfig) -> dict[str, Any]:
    """As JSON would give it back: lists instead of tuples."""

    def listed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: listed(v) for k, v in value.items()}
        return [listed(v) for v in value] if isinstance(value, (list, tuple)) else value

    return listed(to_dict(config))
