# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: one safetensors file each, that appears whole or not at all, with its configuration inside."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from gld_ros.errors import ModelError
from gld_ros.files import replacing
from gld_ros.training.optimizer import Average, trained
from gld_ros.training.stage import Stage

PATTERN = "checkpoint-*.safetensors"


@dataclass
class Progress:
    """State of a run beside the tensors of its checkpoint. micro: micro steps of each process; skipped: bad steps."""

    step: int
    micro: int
    skipped: int
    processes: int
    config: dict[str, Any]
    revision: str


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run."""
    return max(folder.glob(PATTERN), default=None)


def write(folder: Path, tensors: Mapping[str, Tensor], progress: Progress, keep: int) -> Path:
    """Save a checkpoint, then drop all but the newest `keep`.

    Raises ModelError where it cannot be written, a full disk above all; older checkpoints are untouched then.
    """
    path = folder / f"checkpoint-{progress.step:08d}.safetensors"
    try:
        with replacing(path) as temporary:
            save_file(dict(tensors), temporary, metadata={"progress": json.dumps(asdict(progress))})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        size, previous = sum(t.nbytes for t in tensors.values()), latest(folder)
        place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        raise ModelError(
            f"{path}: could not be saved ({error}); it takes {size / 1e6:,.0f} MB, "
            f"{shutil.disk_usage(place).free / 1e6:,.0f} MB are free. "
            + (f"{previous} is intact: make room, and the same command goes on from it" if previous else "")
        ) from error
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        old.unlink()
    return path


def read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """A checkpoint's tensors, memory-mapped, and the rest. Raises ModelError for a file that is none."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads((file.metadata() or {})["progress"]))
            return {key: file.get_tensor(key) for key in file.keys()}, progress
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not a checkpoint of gld train ({type(error).__name__}: {error})") from error


def full(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, of a sharded tensor the whole; all processes have to call this."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().clone().contiguous()


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    source = source.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        source = distribute_tensor(source, target.device_mesh, target.placements)
    target.copy_(source)


#: State of every parameter in each optimiser, by the optimiser's name.
States = Mapping[str, Mapping[nn.Parameter, dict[str, Tensor]]]


def collected(stage: Stage, average: Average, states: States) -> dict[str, Tensor]:
    """A checkpoint's tensors: "model/NAME", "average/NAME", "adam/exp_avg/NAME", "muon/momentum_buffer/NAME".

    All processes have to call this.
    """
    tensors = {f"model/{name}": full(value) for name, value in stage.kept().items()}
    tensors |= {f"average/{name}": full(value) for name, value in average.values.items()}
    for kind, state in states.items():
        for name, parameter in trained(stage):
            tensors |= {f"{kind}/{key}/{name}": full(value) for key, value in state.get(parameter, {}).items()}
    return tensors


def restore(path: Path, tensors: Mapping[str, Tensor], stage: Stage, average: Average, states: States) -> None:
    """The inverse of `collected`. Raises ModelError naming `path` where names or shapes do not fit the stage."""
    groups: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("model", "average", *states)}
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        groups[kind][name] = value
    for kind, targets in (("model", stage.kept()), ("average", average.values)):
        if misfit := misfits(targets, groups[kind]):
            raise ModelError(f"{path}: {kind}: {misfit}")
        for name, target in targets.items():
            fill(target, groups[kind][name])
    parameters = dict(trained(stage))
    for kind, state in states.items():
        for entry, value in groups[kind].items():  # parameters that are not here had no gradient so far
            key, name = entry.split("/", 1)
            copy = value.clone()  # AdamW's step count stays on the CPU
            if value.ndim:
                copy = torch.zeros_like(parameters[name])
                fill(copy, value)
            state[parameters[name]][key] = copy


def misfits(targets: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Names and shapes that do not fit, "" where all do."""
    wrong = [f"{name} is missing" for name in targets.keys() - given.keys()]
    wrong += [f"{name} is unknown" for name in given.keys() - targets.keys()]
    wrong += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(target.shape)}"
        for name, target in targets.items()
        if name in given and given[name].shape != target.shape
    ]
    return "; ".join(sorted(wrong)[:4])
