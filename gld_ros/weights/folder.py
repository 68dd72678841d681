# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model folder holds: components, their tensors, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from gld_ros.errors import ModelError
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.weights.official import Part, misfits, shared_names, shortened

#: Name of what is no network: the buffers of `GLDNetworks` itself.
STATISTICS = "statistics"


@dataclass
class Piece:
    """One component of a folder. tensors: by published key, memory-mapped; file: where they lie in the folder.

    unused: builds a network that is in the file but not part of GLD; its keys are checked all the same.
    """

    component: str
    file: str
    tensors: dict[str, Tensor]
    part: Part = field(default_factory=Part)
    unused: Callable[[], nn.Module] | None = None

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def wanted(self, net: GLDNetworks) -> dict[str, Tensor]:
        """What the tensors should be, by published key; `net` may be on the meta device.

        A tensor that the network holds under several names and the file under one is given its other names.
        """
        if self.component == STATISTICS:
            return {self.part.key(key): value for key, value in net.named_buffers(recurse=False)}
        if self.unused is None:
            component = getattr(net, self.component)
        else:
            with torch.device("meta"):
                component = self.unused()
        for group in shared_names(component):
            keys = [self.part.key(name) for name in group]
            if there := next((key for key in keys if key in self.tensors), None):
                self.tensors = {key: self.tensors[there] for key in keys} | self.tensors
        return {self.part.key(key): value for key, value in component.state_dict().items()}


@dataclass
class ModelFolder:
    """A folder as found. problems: what keeps it from being loaded; notices: what is left out; files: all it uses."""

    path: Path
    config: ModelConfig
    pieces: list[Piece]
    files: list[str]
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    #: What the weights are in, where the folder says so.
    dtype: torch.dtype = torch.float32

    def read(self, reader: Callable[[Path], dict], file: str) -> dict:
        """A file's content; {} and a problem of the folder where it cannot be read."""
        try:
            return reader(self.path / file)
        except ModelError as error:
            self.problems.append(str(error))
            return {}

    def check(self) -> None:
        """Compare all keys and shapes with the networks'. Raises one ModelError that lists every problem."""
        problems = [*self.problems, *self.misfits()]
        if problems:
            what = "problem" if len(problems) == 1 else "problems"
            raise ModelError(f"{self.path}: {len(problems)} {what}\n  " + "\n  ".join(problems))

    def misfits(self) -> list[str]:
        """Keys and shapes that do not fit, one line a component."""
        net = on_meta(self.config)
        lines = []
        for piece in self.pieces:
            if problems := misfits(piece.wanted(net), piece.tensors):
                lines.append(f"{piece.component} ({piece.file}): {shortened(problems)}")
        here = {piece.component for piece in self.pieces}
        named = [name for name, _ in net.named_children()] + [STATISTICS]
        if not self.problems:  # otherwise it is known which file could not be read
            lines += [f"{name}: missing" for name in named if name not in here]
        return lines


def on_meta(config: ModelConfig) -> GLDNetworks:
    """The networks without memory. Raises ModelError for a configuration that makes none."""
    try:
        with torch.device("meta"):
            return GLDNetworks(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"model '{config.name}': no networks can be built from its configuration ({error})") from error
