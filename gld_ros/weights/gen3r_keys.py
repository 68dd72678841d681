# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Published tensors of Gen3R under the names of the networks here; those with the same names need nothing.

A prefix `model.` must be gone. Keys that the networks do not have stay as they are, and are unexpected.
"""

from __future__ import annotations

import re

from torch import Tensor

#: Published name -> transformers' name, as regular expressions.
_TEXT = {
    r"^token_embedding\.": "shared.",
    r"^blocks\.(\d+)\.attn\.([qkvo])\.": r"encoder.block.\1.layer.0.SelfAttention.\2.",
    r"^blocks\.(\d+)\.pos_embedding\.embedding\.": (r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias."),
    r"^blocks\.(\d+)\.norm1\.": r"encoder.block.\1.layer.0.layer_norm.",
    r"^blocks\.(\d+)\.norm2\.": r"encoder.block.\1.layer.1.layer_norm.",
    r"^blocks\.(\d+)\.ffn\.gate\.0\.": r"encoder.block.\1.layer.1.DenseReluDense.wi_0.",
    r"^blocks\.(\d+)\.ffn\.fc1\.": r"encoder.block.\1.layer.1.DenseReluDense.wi_1.",
    r"^blocks\.(\d+)\.ffn\.fc2\.": r"encoder.block.\1.layer.1.DenseReluDense.wo.",
    r"^norm\.": "encoder.final_layer_norm.",
}
_IMAGE = {
    r"^cls_embedding$": "embeddings.class_embedding",
    r"^pos_embedding$": "embeddings.position_embedding.weight",
    r"^patch_embedding\.": "embeddings.patch_embedding.",
    r"^pre_norm\.": "pre_layrnorm.",
    r"^post_norm\.": "post_layernorm.",
    r"^transformer\.(\d+)\.norm1\.": r"encoder.layers.\1.layer_norm1.",
    r"^transformer\.(\d+)\.norm2\.": r"encoder.layers.\1.layer_norm2.",
    r"^transformer\.(\d+)\.attn\.proj\.": r"encoder.layers.\1.self_attn.out_proj.",
    r"^transformer\.(\d+)\.mlp\.0\.": r"encoder.layers.\1.mlp.fc1.",
    r"^transformer\.(\d+)\.mlp\.2\.": r"encoder.layers.\1.mlp.fc2.",
}
_QKV = re.compile(r"^transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)$")


def video_vae(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `VideoVAE` from the tensors of Wan 2.1's VAE."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    return _inside(convert_wan_vae_to_diffusers(dict(tensors)))


def text_encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `TextEncoder`, where the embedding has two names."""
    state = {_renamed(key, _TEXT): tensor for key, tensor in tensors.items()}
    if "shared.weight" in state:
        state["encoder.embed_tokens.weight"] = state["shared.weight"]
    return _inside(state)


def image_tower(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `ImageTower` from the keys that began with `visual.`; its projection `head` is not used."""
    state = {}
    for key, tensor in tensors.items():
        if match := _QKV.match(key):
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                state[f"encoder.layers.{match[1]}.self_attn.{name}_proj.{match[2]}"] = part
        elif key != "head":
            state[_renamed(key, _IMAGE)] = tensor.flatten() if key == "cls_embedding" else tensor
    if "embeddings.position_embedding.weight" in state:
        state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"].squeeze(0)
    return _inside(state)


def _renamed(key: str, names: dict[str, str]) -> str:
    """The key with the first pattern that it has replaced."""
    for pattern, name in names.items():
        if re.match(pattern, key):
            return re.sub(pattern, name, key)
    return key


def _inside(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the prefix that the library's network has in ours."""
    return {f"net.{key}": tensor for key, tensor in state.items()}
