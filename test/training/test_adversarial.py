# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The RGB decoder's adversarial loss."""

import re

import pytest
import torch
from torch import nn

from gld_ros.errors import InvalidRequest
from gld_ros.networks.encoder import normalize_images
from gld_ros.training.adversarial import Adversary, ConvDiscriminator, DinoDiscriminator, augmented
from gld_ros.training.config import DiscriminatorConfig


def test_the_judge_is_taught_by_its_own_loss_alone_and_weighed_adaptively():
    torch.manual_seed(0)
    judge = Adversary(ConvDiscriminator(8), DiscriminatorConfig(train_after=2, use_after=4, weight=0.75))
    last = nn.Conv2d(3, 3, 1)
    made, real = last(torch.rand(2, 3, 16, 16)), torch.rand(2, 3, 16, 16)
    reconstruction = (made - real).abs().mean()
    before = judge.losses(made, real, reconstruction, last.weight, 1)
    assert set(before) == {"discriminator"} and before["discriminator"] == 0
    assert set(judge.losses(made, real, reconstruction, last.weight, 3)) == {"discriminator"}
    losses = judge.losses(made, real, reconstruction, last.weight, 4)
    judge.zero_grad()
    losses["generator"].backward(retain_graph=True)
    assert all(p.grad is None for p in judge.parameters())
    ours = torch.autograd.grad(reconstruction, last.weight, retain_graph=True)[0].norm()
    theirs = last.weight.grad.norm() / (0.75 * losses["_balance"])
    assert losses["_balance"] == pytest.approx(float(ours / (theirs + 1e-6)), rel=1e-3)
    losses["discriminator"].backward()
    assert all(p.grad is not None for p in judge.parameters())


def test_augmentation_is_differentiable_and_keeps_the_shape():
    torch.manual_seed(0)
    x = torch.rand(3, 3, 16, 24, requires_grad=True)
    y = augmented(x)
    y.sum().backward()
    assert y.shape == x.shape and x.grad.abs().max() > 0 and not torch.allclose(x, y, atol=0.05)


def test_dino_features_are_those_of_the_published_network(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    other = transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=384, num_attention_heads=6, intermediate_size=1536, patch_size=8, layer_norm_eps=1e-6
        ),
        add_pooling_layer=False,
    ).eval()
    names = [
        (r"embeddings.cls_token", "cls_token"),
        (r"embeddings.position_embeddings", "pos_embed"),
        (r"embeddings.patch_embeddings.projection", "patch_embed.proj"),
        (r"^layernorm", "norm"),
        (r"^(encoder\.)?layers?", "blocks"),
        (r"layernorm_before", "norm1"),
        (r"layernorm_after", "norm2"),
        (r"attention.output.dense|attention.o_proj", "attn.proj"),
        (r"intermediate.dense|mlp.fc1", "mlp.fc1"),
        (r"(?<!attention.)output.dense|mlp.fc2", "mlp.fc2"),
    ]
    state = {}
    for key, value in other.state_dict().items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        state[key] = value + 0.1 * torch.randn_like(value)
    other.load_state_dict(dict(zip(other.state_dict(), state.values(), strict=True)))
    for i in range(12):
        for kind in ("weight", "bias"):
            parts = [
                k for k in state if re.match(rf"blocks\.{i}\..*attention.*(query|key|value|[qkv]_proj)\.{kind}$", k)
            ]
            ordered = sorted(parts, key=lambda k: "qkv".index(re.search(r"(q|k|v)(?:uery|ey|alue|_proj)\.", k)[1]))
            state[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat([state.pop(k) for k in ordered])
    torch.save(state, tmp_path / "dino.pth")
    judge = DinoDiscriminator(str(tmp_path / "dino.pth"))
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = other(normalize_images(images), output_hidden_states=True)
        found = judge.trunk(images, judge.DEPTHS)
        scores = judge(images)
    scale = expected.last_hidden_state.abs().max()
    assert (found[-1] - expected.last_hidden_state[:, 1:]).abs().max() < 1e-4 * scale
    for k, depth in enumerate((2, 5, 8, 11)):
        assert (found[k] - expected.hidden_states[depth + 1][:, 1:]).abs().max() < 1e-4 * expected.hidden_states[
            depth + 1
        ].abs().max()
    assert scores.shape == (1, 5 * 784)
    with pytest.raises(InvalidRequest, match="no DINO ViT-S/8 weights"):
        torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
        DinoDiscriminator(str(tmp_path / "other.pth"))
