# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of linear layers in 8 bits (torchao): less memory and memory traffic, the arithmetic stays as it was."""

from __future__ import annotations

from torch import nn

from gld_ros.errors import ModelError
from gld_ros.extras import require
from gld_ros.networks.gld import GLDNetworks

KINDS = ("int8", "fp8")
#: Networks of transformers, which hold nearly all weights. The others are small, and made of convolutions.
NETWORKS = ("encoder", "level1", "level0", "rgb")


def check_quantize(kind: str | None) -> None:
    """Raise ModelError for a kind that does not exist, or that cannot be had here."""
    if kind is None:
        return
    if kind not in KINDS:
        raise ModelError(f"quantize is '{kind}', expected None or one of {', '.join(KINDS)}")
    require("quantize", f"quantize='{kind}'", ModelError)


def quantize(net: GLDNetworks, kind: str) -> None:
    """In place, one scale a row. kind: "int8", or "fp8" (e4m3). Raises ModelError; see `check_quantize`."""
    check_quantize(kind)
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    for name in NETWORKS:
        quantize_(getattr(net, name), config, filter_fn=lambda module, _: isinstance(module, nn.Linear))
