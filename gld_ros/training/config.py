# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a training run, with its default; read from YAML and the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.plain import from_dict, to_dict
from gld_ros.settings import STRICT, Count, explain

#: Stages that the settings of `flow` are for.
DIFFUSION = ("level1", "level0")
OptimizerKind = Literal["adamw", "muon"]
Precision = Literal["bf16", "fp32"]
Device = Literal["auto", "cpu", "cuda"]
#: Fields that change neither the model nor the order of the data: a run may be resumed with others.
FREE = {"workers", "device", "save_every", "keep", "sample_every", "bad_steps", "discriminator.weights", "lpips"}
FREE |= {"compiled"}


@dataclass(frozen=True, config=STRICT)
class OptimizerConfig:
    """The optimiser, its schedule, and the average of the weights; the defaults are those of the released DiTs."""

    #: "adamw", or "muon": Muon for the matrices of transformer blocks, AdamW for all other parameters.
    kind: OptimizerKind = "adamw"
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    #: Largest norm of the gradient of one step; 0: no limit.
    clip: float = 1.0
    #: "constant", "cosine" or "linear", after a linear warm-up, down to `final` times the rate at `decay_steps`.
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: int = 0
    final: float = 0.0
    #: 0: the whole run.
    decay_steps: int = 0
    ema: float = 0.9995
    #: Average over fewer steps at first, (1 + n) / (10 + n), so that short runs forget their beginning.
    ema_warmup: bool = False


@dataclass(frozen=True, config=STRICT)
class Distillation:
    """A stage of `start` becomes a few-step student of itself (training/distillation.py)."""

    #: Steps the student is to sample with; 0: no distillation.
    windows: Annotated[int, Field(ge=0)] = 0
    #: Steps of the teacher in one window.
    teacher_steps: Count = 8
    #: The teacher's guidance, which the student learns with all else; up to 1: none.
    guidance: float = 1.0


@dataclass(frozen=True, config=STRICT)
class FlowTraining:
    """Settings of the stages level1 and level0; `model.level1.prediction` says what the network predicts."""

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


@dataclass(frozen=True, config=STRICT)
class DiscriminatorConfig:
    """Settings of the RGB decoder's adversarial loss."""

    #: "none", "conv" (a small one on pixels, trained from scratch) or "dino" (heads on frozen DINO ViT-S/8 features).
    kind: Literal["none", "conv", "dino"] = "none"
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


@dataclass(frozen=True, config=STRICT)
class Gen3RTraining:
    """Settings of the stages gen3r-adapter and gen3r-dit; the defaults are the released ones."""

    #: Weight of the KL divergence from the adapter's posterior to that of the video VAE; 0: no alignment.
    alignment: Annotated[float, Field(ge=0)] = 2.0
    #: Shares of clips without their text, and of batches without their cameras.
    text_dropout: Annotated[float, Field(ge=0, le=1)] = 0.2
    camera_dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    #: Errors of the velocity beyond this are left out.
    largest_error: float = 50.0
    #: The text of all clips.
    prompt: str = ""


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """One run of one stage. Steps are optimiser steps; one sees batch x accumulation x processes scenes."""

    stage: str = "level1"
    #: Model (name or folder) that gives all networks this run does not train; empty: all are new.
    start: str = ""
    #: Go on from the weights of `start` for the trained networks too.
    fine_tune: bool = False
    #: Fields of ModelConfig that differ from those of `start` (of the defaults without it).
    model: dict[str, Any] = field(default_factory=dict)
    #: Data to train on: lines for `data.scenes.open_scenes` with their weights (docs/data.md). "fresh-rooms:" stands
    #: alone: procedural rooms of 4 views, rendered in the loader (stages.open_data).
    data: dict[str, float] = field(default_factory=lambda: {"fresh-rooms:": 1.0})
    #: Views of a scene, and the (width, height) of the images; one size a batch.
    views: Count = 8
    sizes: tuple[tuple[int, int], ...] = ((504, 504), (504, 378), (504, 336), (504, 280))
    #: Processes that load data, per training process; 0: the training process itself.
    workers: int = 4
    #: Scenes of one micro step of one process.
    batch: Count = 1
    accumulation: Count = 1
    steps: Count = 175_000
    seed: int = 0
    #: "bf16" (parameters stay float32) or "fp32".
    precision: Precision = "bf16"
    device: Device = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    flow: FlowTraining = field(default_factory=FlowTraining)
    gen3r: Gen3RTraining = field(default_factory=Gen3RTraining)
    #: Compile the transformer blocks of `gld train mini`'s diffusion stages where they train on a CPU.
    compiled: bool = False
    #: Probability that the RGB decoder does not get one of the levels of a view.
    level_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    #: Share of the batches whose upper levels follow from level 1 with the first view's camera token, as at inference
    #: (stages encoder, rgb-decoder).
    propagation: float = 0.0
    #: Share of the scenes whose pictures are changed as real cameras do (stage mini-depth).
    augmented: float = 0.7
    #: Weight of LPIPS beside L1, and the folder of its weights (see metrics/lpips.py); without: no LPIPS.
    lpips_weight: float = 1.0
    lpips: str = ""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    #: Steps between checkpoints, how many are kept, steps between sample sheets (0: none).
    save_every: Count = 1000
    keep: Count = 2
    sample_every: int = 1000
    #: Steps in a row without a finite gradient after which the run ends.
    bad_steps: Count = 20

    def model_config(self, start: ModelConfig | None = None) -> ModelConfig:
        """The configuration of the model that the run makes."""
        try:
            return from_dict(ModelConfig, merged(to_dict(start or ModelConfig()), self.model))
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"model: {error}") from error

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.stage not in DIFFUSION:
            return self
        least, most = self.flow.sources
        if not 1 <= least <= most < self.views:
            raise ValueError(f"flow.sources is {least}..{most}, expected 1 <= .. < views = {self.views}")
        if not self.flow.distill.windows:
            return self
        if not (self.start and self.fine_tune):
            raise ValueError("flow.distill: the teacher is the stage of start=, and fine_tune: true is needed")
        if self.flow.shift_dim:
            raise ValueError("flow.distill: windows are those of sampling, flow.shift_dim cannot be given with it")
        return self


PLAIN = TypeAdapter(TrainConfig)


def load_config(path: Path | None, changes: Sequence[str] = (), **forced: Any) -> TrainConfig:
    """A YAML file's settings, then `key=value` changes (dotted keys reach inside), then `forced` fields.

    Raises InvalidRequest for an unreadable file, unknown keys and values that cannot be.
    """
    values: Any = {}
    if path is not None:
        try:
            values = read_yaml(path.read_text(), f"{path}: not a readable YAML file") or {}
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{path}: not a readable YAML file ({error})") from error
    if not isinstance(values, dict):
        raise InvalidRequest(f"{path}: holds a {type(values).__name__}, expected a mapping of settings")
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise InvalidRequest(f"--set {change}: expected key=value")
        *outer, last = key.strip().split(".")
        place = values
        for name in outer:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = read_yaml(text, f"--set {change}: not a readable YAML value")
    for name, value in forced.items():
        if values.get(name, value) != value:
            raise InvalidRequest(f"{path}: {name} is '{values[name]}', but '{value}' was asked for")
    return restored(values | forced)


def read_yaml(text: str, problem: str) -> Any:
    """The settings in a YAML text. Raises InvalidRequest that begins with `problem`."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InvalidRequest(f"{problem} ({error})") from error


def restored(values: dict[str, Any]) -> TrainConfig:
    """A checked configuration from plain values. Raises InvalidRequest that names every key that cannot be."""
    try:
        return PLAIN.validate_json(json.dumps(values))
    except ValidationError as error:
        raise InvalidRequest(f"training configuration: {explain(error)}") from error
    except TypeError as error:  # YAML has dates, JSON has none
        raise InvalidRequest(f"training configuration: {error}") from error


def plain(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON gives them back: lists instead of tuples."""
    return PLAIN.dump_python(config, mode="json")


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
    """Differences that keep a run from being resumed, "field: saved value, now value", of fields that are not FREE."""
    # Fields that older runs did not have were at their defaults.
    old, new, defaults = (flattened(values) for values in (saved, plain(current), plain(TrainConfig())))
    free = FREE | ({"steps"} if current.optimizer.schedule == "constant" else set())
    keys = [key for key in old | new if old.get(key, defaults.get(key)) != new.get(key) and key not in free]
    return [f"{key}: {old.get(key)!r}, now {new.get(key)!r}" for key in keys]
