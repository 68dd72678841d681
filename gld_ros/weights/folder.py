# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder as it lies on the disk: components, their tensors, and the problems with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gld_ros.errors import ModelError
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gld import GLDNetworks

#: Name of the component that is no network: the buffers of `GLDNetworks` itself.
STATISTICS = "statistics"
#: The networks of each kind of configuration, by the family's name.
NETWORKS: dict[str, tuple[type, type[nn.Module]]] = {
    "gld": (ModelConfig, GLDNetworks),
    "gen3r": (Gen3RConfig, Gen3RNetworks),
}


@dataclass(frozen=True)
class KeyNames:
    """One network inside a file: the prefix of its keys, and how our key names read there."""

    prefix: str = ""
    rename: Callable[[str], str] = str

    def key(self, ours: str) -> str:
        """The published key of one of our state-dict keys."""
        return self.prefix + self.rename(ours)


@dataclass
class Component:
    """One component of a folder. tensors: by published key, memory-mapped; file: where they lie in the folder."""

    name: str
    file: str
    tensors: dict[str, Tensor]
    keys: KeyNames = field(default_factory=KeyNames)

    def state(self, net: nn.Module) -> dict[str, Tensor]:
        """The component's tensors by our names in its state dict; `net` may be on the meta device."""
        if self.name == STATISTICS:
            return dict(net.named_buffers(recurse=False))
        return getattr(net, self.name).state_dict()

    def misfits(self, net: nn.Module) -> list[str]:
        """Keys and shapes that do not fit the network's, one line a key; no tensor is read.

        A tensor that the network holds under several names and the file under one gets its other names.
        """
        if self.name != STATISTICS:
            for group in shared_names(getattr(net, self.name)):
                keys = [self.keys.key(name) for name in group]
                if present := next((key for key in keys if key in self.tensors), None):
                    self.tensors = {key: self.tensors[present] for key in keys} | self.tensors
        wanted = {self.keys.key(name): tensor for name, tensor in self.state(net).items()}
        problems = [f"missing {key}" for key in wanted if key not in self.tensors]
        problems += [f"unexpected {key}" for key in self.tensors if key not in wanted]
        for key in (key for key in wanted if key in self.tensors):
            tensor, shape = self.tensors[key], tuple(wanted[key].shape)
            if tuple(tensor.shape) != shape:
                problems.append(f"{key} is {tuple(tensor.shape)}, expected {shape}")
            elif not tensor.is_floating_point():
                problems.append(f"{key} is {tensor.dtype}, expected floating point")
        return problems

    def wrong_numbers(self) -> list[str]:
        """Tensors that are not finite, and variances that are not positive. Reads them all."""
        wrong = [f"{key} is not finite" for key, value in self.tensors.items() if not value.isfinite().all()]
        if self.name == STATISTICS:
            variances = {key: value for key, value in self.tensors.items() if "var" in key}
            wrong += [f"{key} is not positive" for key, value in variances.items() if (value <= 0).any()]
        return wrong


@dataclass
class ModelFolder:
    """A folder as opened.

    config: a ModelConfig or a Gen3RConfig; problems: what keeps it from being loaded; notices: what is left out; files:
    all it uses; optional: components that need not be there; interchangeable: files whose keys and shapes agree, so
    that nothing but their hashes tells them apart.
    """

    path: Path
    config: Any
    components: list[Component]
    files: list[str]
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    optional: tuple[str, ...] = ()
    interchangeable: tuple[str, ...] = ()
    #: The dtype of the weights, where the folder says so.
    dtype: torch.dtype = torch.float32

    def read(self, reader: Callable[[Path], dict], file: str) -> dict:
        """A file's content; {} and a problem of the folder where it cannot be read."""
        try:
            return reader(self.path / file)
        except ModelError as error:
            self.problems.append(str(error))
            return {}

    def misfits(self) -> list[str]:
        """Keys and shapes that do not fit, one line a component."""
        net = on_meta(self.config)
        lines = []
        for component in self.components:
            if problems := component.misfits(net):
                lines.append(f"{component.name} ({component.file}): {shortened(problems)}")
        if not self.problems:  # otherwise it is known which file could not be read
            present = {component.name for component in self.components}
            lines += [f"{name}: missing" for name in component_names(net) if name not in {*present, *self.optional}]
        return lines

    def refuse(self, problems: list[str]) -> None:
        """Raise one ModelError that lists every problem, if there is one."""
        if problems:
            what = "problem" if len(problems) == 1 else "problems"
            raise ModelError(f"{self.path}: {len(problems)} {what}\n  " + "\n  ".join(problems))


def component_names(net: nn.Module) -> list[str]:
    """Names of the networks, and of the statistics where there are some."""
    return [name for name, _ in net.named_children()] + [STATISTICS] * any(True for _ in net.buffers(recurse=False))


def on_meta(config: Any) -> Any:
    """The networks of a ModelConfig or a Gen3RConfig without memory. Raises ModelError for one that makes none."""
    networks = next(networks for kind, networks in NETWORKS.values() if isinstance(config, kind))
    try:
        with torch.device("meta"), _Undrawn():
            return networks(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"model '{config.name}': no networks can be built from its configuration ({error})") from error


class _Undrawn(TorchFunctionMode):
    """Draws no numbers: on the meta device there are none, and for them torch imports its compiler, which takes longer
    than all else that a model needs to load."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if function is torch.randn else function)(*args, **kwargs)


def shared_names(net: nn.Module) -> list[list[str]]:
    """Names under which the state dict holds one and the same parameter: DA3's ray scales share their LayerNorm.

    A safetensors file may hold such a parameter under one of its names only.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def shortened(problems: list[str], limit: int = 8) -> str:
    """One line of at most `limit` problems and the number of the others."""
    return "; ".join(problems[:limit]) + (f"; and {len(problems) - limit} more" if len(problems) > limit else "")


def changed(base: dict, changes: Mapping) -> dict:
    """`base` with the values of `changes`, section by section."""
    sections = {
        k: changed(base[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(base.get(k), dict)
    }
    return {**base, **changes, **sections}
