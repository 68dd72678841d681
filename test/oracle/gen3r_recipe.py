# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R's networks with the recipe's weights (test/golden/gen3r_keys.txt has the published keys and shapes)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from builders.gen3r_folder import published, text_shapes, weights
from torch import Tensor, nn

from gld_ros.networks.camera_head import CameraHead
from gld_ros.networks.dpt import DualDPT, PointDPT
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.configs import AdapterConfig, Gen3RConfig, ImageTowerConfig, TextConfig, TransformerConfig
from gld_ros.networks.gen3r.geometry import GeometryHeads
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gen3r.towers import ImageTower, TextEncoder, VideoVAE
from gld_ros.networks.released import VGGT_1B, VGGT_HEAD
from gld_ros.weights import gen3r_keys

#: The text encoder and the transformer of the fixtures, whose layers differ.
TOY_TRANSFORMER = TransformerConfig(width=128, heads=4, hidden=256, text_width=64)
TOY_TEXT = TextConfig(tokens=160, width=64, heads=4, hidden=96, layers=2)


def filled(build: Callable[[], nn.Module], salt: str, prefix: str = "") -> nn.Module:
    """A network whose names are the published ones."""
    with torch.device("meta"):
        net = build()
    shapes = [(key, tuple(tensor.shape)) for key, tensor in net.state_dict().items()]
    return _loaded(net, weights(shapes, salt, prefix))


def adapter(config: AdapterConfig, salt: str = "gen3r/adapter/") -> GeometryAdapter:
    return filled(lambda: GeometryAdapter(config), salt, "model.")


def video_vae() -> VideoVAE:
    with torch.device("meta"):
        net = VideoVAE()
    return _loaded(net, gen3r_keys.video_vae(weights(published("wan_vae").items(), "gen3r/vae/", without="model.")))


def text_encoder() -> TextEncoder:
    """The toy one: the published names with its own shapes."""
    net = TextEncoder(TOY_TEXT)
    shapes = text_shapes(TOY_TEXT)
    return _loaded(net, gen3r_keys.text_encoder(weights(shapes.items(), "gen3r/t5/")))


def image_tower() -> ImageTower:
    with torch.device("meta"):
        net = ImageTower(ImageTowerConfig())
    shapes = {key: shape for key, shape in published("clip").items() if key.startswith("visual.") and "head" not in key}
    return _loaded(net, gen3r_keys.image_tower(weights(shapes.items(), "gen3r/clip/", "model.", "visual.")))


def geometry_heads(camera: CameraHead, point: PointDPT, depth: DualDPT) -> GeometryHeads:
    """Made of these heads."""
    with torch.device("meta"):
        heads = GeometryHeads(VGGT_1B.channels, VGGT_HEAD)
    heads.camera_head, heads.point_head, heads.depth_head = camera, point, depth
    return heads.eval()


def networks(config: Gen3RConfig, **components: nn.Module) -> Gen3RNetworks:
    """A Gen3R made of these components; the others are nothing."""
    with torch.device("meta"):
        net = Gen3RNetworks(config)
    for name, _ in net.named_children():
        setattr(net, name, components.get(name, nn.Identity()))
    return net.eval()


def _loaded(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The network with these weights, all of them."""
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)
