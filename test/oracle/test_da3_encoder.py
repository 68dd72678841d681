"""Full-size DA3-Base encoder against the official GLD code (fixture a)."""

import torch
from oracle import recipe

from gld_ros.models.encoder import GeometryEncoder
from gld_ros.models.official import Part
from gld_ros.models.released import DA3_BASE


def test_levels(golden, compare):
    fixture = golden("da3_encoder")
    net = recipe(GeometryEncoder(DA3_BASE), Part("model.backbone.pretrained."))
    levels = net(fixture["images_u8"].float() / 255)
    channels = fixture["channel_index"]
    for k, level in enumerate(levels):
        compare(fixture, f"raw_level{k}", level.tokens.flatten(0, 1)[..., channels], 2e-5)
        compare(fixture, f"raw_level{k}_l2", level.tokens.flatten(0, 1).norm(dim=-1), 2e-5)
    assert torch.isfinite(levels[3].tokens).all()
