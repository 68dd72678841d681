# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loading and saving models: strictly, memory-mapped, one component after the other."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from gld_ros.calibration import Calibration
from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gld import GLDNetworks, stored_dtype
from gld_ros.plain import from_dict, to_dict
from gld_ros.weights.folder import STATISTICS, Component, on_meta
from gld_ros.weights.layout import CONFIG, WEIGHTS
from gld_ros.weights.tensor_files import write_tensors
from gld_ros.weights.verification import opened, weights_of

#: File beside a model's weights.
CALIBRATION = "calibration.json"


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> GLDNetworks:
    """The networks of a GLD's folder in the official layout or in ours, frozen, in eval mode. Raises ModelError for a
    folder of another family, and as `load_networks` does."""
    net = load_networks(folder, device, dtype)
    if not isinstance(net, GLDNetworks):
        raise ModelError(f"{folder}: holds {type(net).__name__}, expected those of a GLD")
    return net


def load_networks(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    without: Collection[str] = (),
) -> nn.Module:
    """The networks of a folder of any family, frozen, in eval mode. without: components that are None in the result,
    as those are that the folder need not have and has not.

    dtype: float32 or bfloat16; None: what a converted folder was converted to, else float32. Statistics and tables
    stay float32. Weights that have the dtype already stay memory-mapped on a CPU: the files must outlive the networks.
    Others are converted component by component, the largest first, each source dropped before the next.
    Raises ModelError that lists every missing, unexpected and mis-shaped key and every file that is missing, truncated,
    corrupted (see `opened` for what is compared here) or has pickled objects in it.
    """
    opened_folder = opened(folder)
    net = on_meta(opened_folder.config)
    components = [component for component in opened_folder.components if component.name not in without]
    for name in {name for name, _ in net.named_children()} - {component.name for component in components}:
        setattr(net, name, None)
    opened_folder.components = []
    for component in sorted(
        components, key=lambda component: -sum(tensor.nbytes for tensor in component.tensors.values())
    ):
        _fill(net, component, torch.device(device), dtype or opened_folder.dtype)
    return net.eval().requires_grad_(False)


def _fill(net: nn.Module, component: Component, device: torch.device, dtype: torch.dtype) -> None:
    """Give a component its tensors, and let go of the source's."""
    statistics = component.name == STATISTICS
    source = {name: component.tensors.pop(component.keys.key(name)) for name in component.state(net)}
    kinds = {name: stored_dtype(name, tensor, dtype) for name, tensor in source.items()}
    # One view of the mapped file would keep all of it: either every tensor stays there, or none.
    copy = any(tensor.dtype != kinds[name] for name, tensor in source.items())
    state = {name: source.pop(name).to(device, kinds[name], copy=copy) for name in kinds}
    module = net if statistics else getattr(net, component.name)
    module.load_state_dict(state, strict=not statistics, assign=True)


def save_model(folder: Path, net: GLDNetworks | Gen3RNetworks, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config of a small model, in one file; each file appears whole or not at all."""
    weights = folder / WEIGHTS
    # A tensor of several names is written under one: reading gives it the others again.
    once = {tensor.data_ptr(): name for name, tensor in reversed(net.state_dict().items())}.values()
    state = {name: tensor for name, tensor in net.state_dict().items() if name in set(once)}
    write_tensors(weights, {k: v.detach().to("cpu", dtype).contiguous() for k, v in state.items()})
    family = {"family": "gen3r"} if isinstance(net, Gen3RNetworks) else {}
    config = family | {"model": to_dict(net.config), "sha256": {WEIGHTS: sha256(weights)}}
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


def load_calibration(folder: Path) -> Calibration | None:
    """The calibration of confidence and depth intervals beside a model's weights; None without one.

    Raises ModelError for a file that is broken or belongs to other weights.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    try:
        calibration = from_dict(Calibration, json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a calibration ({error})") from error
    if calibration.weights != weights_of(folder):
        raise ModelError(
            f"{path}: measured with other weights than those in the folder (their sha256 differs): remove it and, to "
            "have one again, run gld calibrate-confidence"
        )
    return calibration
