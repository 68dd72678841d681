# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loading and saving models: strictly, memory-mapped, one component after the other."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor

from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.networks.gld import GLDNetworks, stored_dtype
from gld_ros.plain import to_dict
from gld_ros.weights.files import write_tensors
from gld_ros.weights.folder import STATISTICS, ModelFolder, Piece, on_meta
from gld_ros.weights.integrity import check_archives, check_quickly
from gld_ros.weights.layout import CONFIG, WEIGHTS, open_folder


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> GLDNetworks:
    """The networks of a folder in the official layout or in ours, frozen, in eval mode.

    dtype: float32 or bfloat16; None: what a converted folder was converted to, else float32. Statistics and tables
    stay float32. Weights that have the dtype already stay memory-mapped on a CPU: the files must outlive the networks.
    Others are converted component by component, the largest first, each source dropped before the next.
    Raises ModelError that lists every missing, unexpected and mis-shaped key and every file that is missing, truncated,
    corrupted (see integrity.py for what is compared here) or has pickled objects in it.
    """
    found = opened(folder)
    net = on_meta(found.config)
    pieces, found.pieces = [piece for piece in found.pieces if piece.unused is None], []
    for piece in sorted(pieces, key=lambda piece: -piece.bytes):
        _fill(net, piece, torch.device(device), dtype or found.dtype)
    return net.eval().requires_grad_(False)


def opened(folder: Path) -> ModelFolder:
    """A folder whose files, keys and shapes are what they should be, before anything of it is loaded."""
    found = open_folder(folder)
    check_quickly(folder, found.files)
    found.check()
    check_archives(folder, found.files)
    for piece in found.pieces:
        if piece.component == STATISTICS and (wrong := wrong_statistics(piece.tensors)):
            raise ModelError(f"{folder}: {piece.file}: {'; '.join(wrong)}")
    for notice in found.notices:
        warnings.warn(f"{folder}: {notice}", stacklevel=2)
    return found


def wrong_statistics(tensors: dict[str, Tensor]) -> list[str]:
    """Which latent statistics are not finite, or variances not positive."""
    wrong = [f"{key} is not finite" for key, value in tensors.items() if not value.isfinite().all()]
    return wrong + [f"{key} is not positive" for key, value in tensors.items() if "var" in key and (value <= 0).any()]


def _fill(net: GLDNetworks, piece: Piece, device: torch.device, dtype: torch.dtype) -> None:
    """Give a component its tensors, and let go of the source's."""
    statistics = piece.component == STATISTICS
    component = net if statistics else getattr(net, piece.component)
    names = [name for name, _ in net.named_buffers(recurse=False)] if statistics else list(component.state_dict())
    source = {name: piece.tensors.pop(piece.part.key(name)) for name in names}
    kinds = {name: stored_dtype(name, tensor, dtype) for name, tensor in source.items()}
    # One view of the mapped file would keep all of it: either every tensor stays there, or none.
    copy = any(tensor.dtype != kinds[name] for name, tensor in source.items())
    state = {name: source.pop(name).to(device, kinds[name], copy=copy) for name in names}
    component.load_state_dict(state, strict=not statistics, assign=True)


def save_model(folder: Path, net: GLDNetworks, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config of a small model, in one file; each file appears whole or not at all."""
    weights = folder / WEIGHTS
    write_tensors(weights, {k: v.detach().to("cpu", dtype).contiguous() for k, v in net.state_dict().items()})
    config = {"model": to_dict(net.config), "sha256": {WEIGHTS: sha256(weights)}}
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
