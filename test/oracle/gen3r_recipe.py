# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R's networks with the recipe's weights (test/golden/gen3r_keys.txt has the published keys and shapes)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable

import numpy as np
import torch
from golden.recipe import input_for, tensor_for
from oracle import GOLDEN
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

Shapes = Iterable[tuple[str, tuple[int, ...]]]
#: The text encoder and the transformer of the fixtures, whose layers differ.
TOY_TRANSFORMER = TransformerConfig(width=128, heads=4, hidden=256, text_width=64)
TOY_TEXT = TextConfig(tokens=160, width=64, heads=4, hidden=96, layers=2)


def published(component: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a component of the Hub folder, as its keys are there."""
    shapes = {}
    for line in (GOLDEN / "gen3r_keys.txt").read_text().splitlines():
        name, _, rest = line.partition("\t")
        if name == component:
            key, shape, _ = rest.split("\t")
            blocks = re.search(r"\{i:0\.\.(\d+)\}", key)
            for i in range(int(blocks[1]) + 1) if blocks else [0]:
                shapes[re.sub(r"\{.*\}", str(i), key)] = ast.literal_eval(shape)
    return shapes


def weight(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """Value of a published entry."""
    if key.endswith("gamma"):
        value = tensor_for(key, shape[:1], salt).reshape(shape)
    elif key.endswith("modulation"):
        value = np.float32(0.5) * input_for(key, shape, salt)
    else:
        value = tensor_for(key, shape, salt)
        if ("time_embedding." in key or "time_projection." in key) and key.endswith(".weight"):
            value = 2 * value
    return torch.from_numpy(np.asarray(value))


def weights(shapes: Shapes, salt: str, prefix: str = "", without: str = "") -> dict[str, Tensor]:
    """Name -> recipe's weight of each (name, shape); prefix: of the published key; without: what the name loses."""
    return {key.removeprefix(without): weight(prefix + key, tuple(shape), salt) for key, shape in shapes}


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
    W, H = TOY_TEXT.width, TOY_TEXT.hidden
    shapes = {"token_embedding.weight": (TOY_TEXT.tokens, W), "norm.weight": (W,)}
    for i in range(TOY_TEXT.layers):
        block = {f"attn.{name}.weight": (W, W) for name in "qkvo"}
        block |= {"norm1.weight": (W,), "norm2.weight": (W,), "ffn.fc2.weight": (W, H)}
        block |= {"ffn.gate.0.weight": (H, W), "ffn.fc1.weight": (H, W)}
        block |= {"pos_embedding.embedding.weight": (TOY_TEXT.buckets, TOY_TEXT.heads)}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
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
    """Strictly; buffers that are no weights, of the libraries, are made anew."""
    net.load_state_dict(state, assign=True)
    for module in net.modules():
        if "position_ids" in module._buffers:
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return net.eval().requires_grad_(False)
