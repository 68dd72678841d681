# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""VGGT's dense heads, camera head and pose encoding, full size (fixture m)."""

import pytest
import torch
from oracle import given, watched
from unread_heads import encode_camera

from gld_ros.networks.camera_head import decode_camera
from gld_ros.networks.dpt import uv_embedding
from gld_ros.networks.released import VGGT_1B

BOUND = 5e-5
FIXTURE = "vggt_heads"
C = VGGT_1B.channels


def given_levels(meta: dict) -> list[torch.Tensor]:
    patches = meta["grid"][0] * meta["grid"][1]
    shape = (meta["B"], meta["S"], VGGT_1B.specials + patches, C)
    return [given(f"tokens{k}", shape, meta["seed"])[:, :, VGGT_1B.specials :] * (1 + 0.5 * k) for k in range(4)]


def test_depth_head(fixture, vggt_depth_head, compare):
    meta = fixture.meta
    scratch = vggt_depth_head.scratch
    modules = {f"project{k}": net for k, net in enumerate(vggt_depth_head.projects)}
    modules |= {f"resized{k}": net for k, net in enumerate(vggt_depth_head.resize_layers)}
    modules |= {f"layer{k}_rn": getattr(scratch, f"layer{k}_rn") for k in (1, 2, 3, 4)}
    modules |= {f"refine{k}": getattr(scratch, f"refinenet{k}") for k in (1, 2, 3, 4)}
    modules |= {"output_conv1": scratch.output_conv1, "logits": scratch.output_conv2}
    with watched(modules) as calls:
        geometry = vggt_depth_head(given_levels(meta), tuple(meta["grid"]), (meta["H"], meta["W"]))
    assert geometry.rays is None and geometry.ray_confidence is None
    compare(fixture, "depth", geometry.depth[..., None], BOUND)
    compare(fixture, "depth_conf", geometry.depth_confidence[..., ::2, ::2], BOUND)
    for name, (channels, pixels) in meta["strides_channel_pixel"].items():
        short = name.removeprefix("depth.")
        x = calls["logits"][0].args[0] if short == "output_conv2_in" else calls[short][0].result
        compare(fixture, name, x[0, ::channels, ::pixels, ::pixels], BOUND)


def test_point_head(fixture, vggt_point_head, compare):
    meta = fixture.meta
    points, confidence = vggt_point_head(given_levels(meta), tuple(meta["grid"]), (meta["H"], meta["W"]))
    compare(fixture, "point", points[:, :, ::2, ::2], BOUND)
    compare(fixture, "point_conf", confidence[..., ::2, ::2], BOUND)


@pytest.mark.parametrize(("channels", "size", "stride"), [(256, (4, 5), 1), (1024, (4, 5), 1), (128, (56, 70), 4)])
def test_position_embedding(fixture, compare, channels, size, stride):
    embedding = uv_embedding(channels, size, fixture.meta["W"] / fixture.meta["H"])
    name = f"dpt_pos_embed_c{channels}_{size[0]}x{size[1]}"
    compare(fixture, name, embedding[::8, ::stride, ::stride], BOUND)


def test_camera_head(fixture, vggt_camera_head, compare):
    meta = fixture.meta
    tokens = given("camera_token", (meta["camera"]["B"], meta["camera"]["S"], C), meta["seed"])
    with watched({"delta": vggt_camera_head.pose_branch, "trunk": vggt_camera_head.trunk}) as calls:
        encoding = vggt_camera_head(tokens)
    compare(fixture, "cam_pose_encoding", encoding, BOUND)
    deltas = torch.stack([call.result for call in calls["delta"]])
    compare(fixture, "cam_delta", deltas, BOUND)
    compare(fixture, "cam_pre_activation", deltas.cumsum(dim=0), BOUND)
    compare(fixture, "cam_trunk_in_every32", torch.stack([call.args[0] for call in calls["trunk"]])[..., ::32], BOUND)
    assert torch.equal(vggt_camera_head(tokens, iterations=2), encoding[:2])


def test_pose_encoding(fixture, compare):
    size = fixture.meta["H"], fixture.meta["W"]
    w2c, K = decode_camera(fixture["pose_encoding_in"], size)
    compare(fixture, "pose_w2c", w2c[..., :3, :], BOUND)
    compare(fixture, "pose_K", K, BOUND)
    compare(fixture, "pose_encoding_back", encode_camera(w2c, K, size), BOUND)
    encoding = encode_camera(fixture["pose_w2c_in"], fixture["pose_K_in"], size)
    compare(fixture, "pose_encoding_of_cameras", encoding, BOUND)


def test_whole_network(fixture, vggt_1b, vggt_depth_head, vggt_point_head, vggt_camera_head, compare):
    images = fixture.images("net_images_u8")
    size = images.shape[-2], images.shape[-1]
    levels = vggt_1b(images)
    patches = [vggt_1b.to_decoder(level) for level in levels]
    geometry = vggt_depth_head(patches, levels[0].grid, size)
    points, confidence = vggt_point_head(patches, levels[0].grid, size)
    compare(fixture, "net_depth", geometry.depth, BOUND)
    compare(fixture, "net_depth_conf", geometry.depth_confidence[..., ::2, ::2], BOUND)
    compare(fixture, "net_points", points[:, :, ::2, ::2], BOUND)
    compare(fixture, "net_points_conf", confidence[..., ::2, ::2], BOUND)
    compare(fixture, "net_pose_encoding", vggt_camera_head(levels[3].camera), BOUND)
