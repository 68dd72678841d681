# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny Gen3R in the published layout, filled with the golden recipe's weights (test/golden/recipe.py).

test/golden/gen3r_keys.txt has the published keys and shapes.
"""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from golden.recipe import input_for, tensor_for
from safetensors.torch import save_file
from torch import Tensor, nn

from gld_ros.networks.configs import StemConfig
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.configs import AdapterConfig, Gen3RConfig, ImageTowerConfig, TextConfig, TransformerConfig
from gld_ros.networks.gen3r.geometry import GeometryHeads
from gld_ros.networks.gen3r.transformer import JointTransformer
from gld_ros.networks.released import VGGT_1B, VGGT_HEAD
from gld_ros.plain import to_dict
from gld_ros.weights.official_layout import vggt_block

GOLDEN = Path(__file__).parents[1] / "golden"
#: All characters that a prompt may have here; the rest is unknown to it.
LETTERS = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *",.-:"]
_ENCODER = replace(
    VGGT_1B, width=32, heads=2, position_grid=5, stem=StemConfig(depth=1, heads=2), schedule="LG" * 4, taps=(1, 3, 5, 7)
)
#: All networks of a Gen3R, small enough for a test; clips of 5 frames of 112 x 112.
TINY = Gen3RConfig(
    name="gen3r-tiny",
    encoder=_ENCODER,
    head=replace(VGGT_HEAD, features=16, out_channels=(16, 16, 16, 16), hidden=8),
    adapter=AdapterConfig(tokens=5 * _ENCODER.channels, width=8, fixed_grid=False),
    vae_width=8,
    transformer=TransformerConfig(width=48, layers=1, heads=2, hidden=64, text_width=16, text_rows=64, image_width=32),
    text=TextConfig(tokens=len(LETTERS), width=16, heads=2, hidden=24, layers=1),
    image=ImageTowerConfig(width=32, layers=2, heads=2, hidden=48, size=28),
    frames=5,
    size=112,
    random_weights=True,
)


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


def text_shapes(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Published key -> shape of a text encoder of another size than the published one."""
    W, H = config.width, config.hidden
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (config.tokens, W), "norm.weight": (W,)}
    for i in range(config.layers):
        block: dict[str, tuple[int, ...]] = {f"attn.{name}.weight": (W, W) for name in "qkvo"}
        block |= {"norm1.weight": (W,), "norm2.weight": (W,), "ffn.fc2.weight": (W, H)}
        block |= {"ffn.gate.0.weight": (H, W), "ffn.fc1.weight": (H, W)}
        block |= {"pos_embedding.embedding.weight": (config.buckets, config.heads)}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def vae_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Published key -> shape of a video VAE with other channels: all of the published widths are multiples of 96."""
    return {
        key: tuple(n // 96 * width if n % 96 == 0 else n for n in shape) for key, shape in published("wan_vae").items()
    }


def image_shapes(config: ImageTowerConfig) -> dict[str, tuple[int, ...]]:
    """Published key -> shape of an image tower of another size, with what is in its file beside it."""
    new = {
        1280: config.width, 3840: 3 * config.width, 5120: config.hidden, 257: (config.size // config.patch) ** 2 + 1,
    }  # fmt: skip
    shapes = {"model.log_scale": (), "model.textual.head.0.weight": (3, 3)}
    for key, shape in published("clip").items():
        layer = re.match(r"visual\.transformer\.(\d+)\.", key)
        if key.startswith("visual.") and (not layer or int(layer[1]) < config.layers):
            shapes[f"model.{key}"] = tuple(new.get(n, n) for n in shape)
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


def weights(
    shapes: Iterable[tuple[str, tuple[int, ...]]], salt: str, prefix: str = "", without: str = ""
) -> dict[str, Tensor]:
    """Name -> recipe's weight of each (name, shape); prefix: of the published key; without: what the name loses."""
    return {key.removeprefix(without): weight(prefix + key, tuple(shape), salt) for key, shape in shapes}


def tiny_gen3r_folder(folder: Path, config: Gen3RConfig = TINY) -> Path:
    """Write a tiny Gen3R of random weights as the released one is published; returns the folder."""
    own = {name: to_dict(config)[name] for name in ("name", "encoder", "head", "adapter", "image", "vae_width")}
    own |= {"frames": config.frames, "size": config.size, "random_weights": True}
    _json(folder / "model_index.json", {"_class_name": "Gen3RPipeline", "_diffusers_version": "0.33.1", "gld_ros": own})
    _json(
        folder / "scheduler/scheduler_config.json",
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0, "num_train_timesteps": 1000},
    )
    t, a, x = config.transformer, config.adapter, config.text
    name = "diffusion_pytorch_model.safetensors"
    with torch.device("meta"):
        transformer, adapter = JointTransformer(t), GeometryAdapter(a)
        encoder, heads = GeometryEncoder(config.encoder), GeometryHeads(config.encoder.channels, config.head)
    _component(folder / "transformer", name, weights(_shapes(transformer), "gen3r/dit/"), {
        "model_type": "i2v", "patch_size": [1, 2, 2], "text_len": t.text_rows, "in_dim": t.latent + t.condition,
        "in_channels": 32, "dim": t.width, "hidden_size": t.width, "ffn_dim": t.hidden, "freq_dim": 256,
        "text_dim": t.text_width, "out_dim": t.latent, "num_heads": t.heads, "num_layers": t.layers, "qk_norm": True,
        "cross_attn_norm": True, "eps": 1e-6, "add_control_adapter": True, "in_dim_control_adapter": t.rays,
        "add_ref_conv": False,
    })  # fmt: skip
    shapes = [(f"model.{key}", shape) for key, shape in _shapes(adapter)]
    _component(folder / "geo_adapter", name, weights(shapes, "gen3r/adapter/"), {
        "latent_channels": a.latent, "hidden_dim": a.width, "input_dim": a.tokens, "output_dim": a.tokens,
        "resample_scale": a.reduction, "temporal_compression_ratio": 4, "spatial_compression_ratio": 8,
    })  # fmt: skip
    _component(folder / "wan_vae", name, weights(vae_shapes(config.vae_width).items(), "gen3r/vae/"), {
        "latent_channels": 16, "temporal_compression_ratio": 4, "spacial_compression_ratio": 8,
    })  # fmt: skip
    text = weights(text_shapes(x).items(), "gen3r/t5/")
    half = len(text) // 2  # in two files, as it is published
    _component(folder / "text_encoder", "model-00001-of-00002.safetensors", dict([*text.items()][:half]), {
        "vocab": x.tokens, "dim": x.width, "dim_attn": x.width, "dim_ffn": x.hidden, "num_heads": x.heads,
        "num_layers": x.layers, "num_buckets": x.buckets, "shared_pos": False, "dropout_p": 0.0,
    })  # fmt: skip
    save_file(dict([*text.items()][half:]), folder / "text_encoder/model-00002-of-00002.safetensors")
    _component(folder / "clip_image_encoder", name, weights(image_shapes(config.image).items(), "gen3r/clip/"))
    vggt = [(f"aggregator.{vggt_block(key)}", shape) for key, shape in _shapes(encoder)] + _shapes(heads)
    vggt.append(("aggregator.patch_embed.mask_token", (1, config.encoder.width)))
    sizes = {"img_size": 14 * config.encoder.position_grid, "patch_size": 14, "embed_dim": config.encoder.width}
    _component(folder / "vggt", "model.safetensors", weights(vggt, ""), sizes)
    _tokenizer(folder / "tokenizer")
    return folder


def _shapes(net: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(tensor.shape)) for key, tensor in net.state_dict().items()]


def _component(folder: Path, file: str, tensors: dict[str, Tensor], config: dict | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / file)
    if config is not None:
        _json(folder / "config.json", config)


def _json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _tokenizer(folder: Path) -> None:
    """A real tokenizer of T5, whose words are single letters."""
    from transformers import T5TokenizerFast

    T5TokenizerFast(vocab=[(letter, -1.0) for letter in LETTERS], extra_ids=0).save_pretrained(folder)
