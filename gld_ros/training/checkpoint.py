"""Checkpoints of a run: one safetensors file each, that appears whole or not at all, with its configuration inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

import gld_ros
from gld_ros.errors import ModelError

PATTERN = "checkpoint-*.safetensors"


@dataclass
class Progress:
    """What a checkpoint says beside its tensors. micro: micro steps each process has taken; skipped: bad steps."""

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
    temporary = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, metadata={"progress": json.dumps(asdict(progress))})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        previous = latest(folder)
        raise ModelError(
            f"{path}: could not be saved ({error}); it takes {size / 1e6:,.0f} MB, "
            f"{shutil.disk_usage(existing(folder)).free / 1e6:,.0f} MB are free. "
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


def existing(folder: Path) -> Path:
    """The folder, or the nearest parent that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def git_revision() -> str:
    """Commit of this checkout, "-dirty" where it has changes; the package's version outside a checkout."""
    try:
        command = ["git", "-C", str(Path(gld_ros.__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 else "unknown"


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


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """The optimiser's state by parameter name: "exp_avg/blocks.0.weight"."""
    return {
        f"{key}/{name}": full(value) for name, p in names for key, value in optimizer.state.get(p, {}).items()
    }  # fmt: skip


def fill_optimizer(
    optimizer: torch.optim.Optimizer, names: list[tuple[str, nn.Parameter]], tensors: Mapping[str, Tensor]
) -> None:
    """The inverse; parameters without a state in `tensors` had no gradient so far."""
    parameters = dict(names)
    for entry, value in tensors.items():
        key, name = entry.split("/", 1)
        parameter = parameters[name]
        if value.ndim:
            state = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            fill(state, value)
        else:  # AdamW's step count stays on the CPU
            state = value.clone()
        optimizer.state[parameter][key] = state
