# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which components of a model are on its device: all of them, or only the one at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gld_ros.errors import ModelError
from gld_ros.networks.gld import GLDNetworks

SEQUENTIAL = "sequential"


def check_offload(offload: str | None) -> None:
    """Raise ModelError for a mode that does not exist."""
    if offload not in (None, SEQUENTIAL):
        raise ModelError(f"offload is '{offload}', expected None or '{SEQUENTIAL}'")


class Residency:
    """With `offload="sequential"` the weights stay in main memory; a component's come to the device while it works.

    Weights are only read here: leaving the device means dropping the copy. Without offload all are on the device.
    """

    def __init__(self, net: GLDNetworks, device: torch.device, offload: str | None = None):
        check_offload(offload)
        self.net, self.device, self.offload = net, device, offload
        #: Components whose weights are on the device now.
        self.resident = {name for name, _ in net.named_children()}
        if offload:
            self.resident.clear()
            for name, buffer in net.named_buffers(recurse=False):
                setattr(net, name, buffer.to(device))
        else:
            net.to(device)

    @contextmanager
    def at_work(self, name: str) -> Iterator[nn.Module]:
        """The component `name`, on the device until the block ends."""
        component = getattr(self.net, name)
        if not self.offload:
            yield component
            return
        tensors = [*component.parameters(), *component.buffers()]
        at_home = [tensor.data for tensor in tensors]
        self.resident.add(name)
        try:
            for tensor in tensors:
                tensor.data = tensor.data.to(self.device, non_blocking=True)
            yield component
        finally:
            for tensor, home in zip(tensors, at_home, strict=True):
                tensor.data = home
            self.resident.discard(name)
