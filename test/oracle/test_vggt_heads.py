"""VGGT's dense heads, camera head and pose encoding, full size (fixture m)."""

from contextlib import contextmanager

import pytest
import torch
from oracle import given, recipe

from gld_ros.geometry.pose_encoding import decode_camera, encode_camera
from gld_ros.models.camera_heads import CameraHead
from gld_ros.models.dpt import DualDPT, PointDPT, uv_embedding
from gld_ros.models.encoder import GeometryEncoder
from gld_ros.models.official import Part, vggt_block
from gld_ros.models.released import VGGT_1B, VGGT_HEAD

BOUND = 5e-5
C = VGGT_1B.channels


@pytest.fixture
def heads(golden):
    return golden("vggt_heads")


@pytest.fixture(scope="module")
def depth_head():
    return recipe(DualDPT(C, VGGT_HEAD), Part("depth_head."))


@pytest.fixture(scope="module")
def point_head():
    return recipe(PointDPT(C, VGGT_HEAD), Part("point_head."))


@pytest.fixture(scope="module")
def camera_head():
    return recipe(CameraHead(C), Part("camera_head."))


@contextmanager
def watched(modules: dict[str, torch.nn.Module]):
    """What each module gives back at each call, in lists by name."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda module, args, result, name=name: seen[name].append(result))
        for name, module in modules.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def given_levels(meta: dict) -> list[torch.Tensor]:
    patches = meta["grid"][0] * meta["grid"][1]
    shape = (meta["B"], meta["S"], VGGT_1B.specials + patches, C)
    return [given(f"tokens{k}", shape, meta["seed"])[:, :, VGGT_1B.specials :] * (1 + 0.5 * k) for k in range(4)]


def test_depth_head(heads, depth_head, compare):
    meta = heads.meta
    scratch = depth_head.scratch
    modules = {f"project{k}": net for k, net in enumerate(depth_head.projects)}
    modules |= {f"resized{k}": net for k, net in enumerate(depth_head.resize_layers)}
    modules |= {f"layer{k}_rn": getattr(scratch, f"layer{k}_rn") for k in (1, 2, 3, 4)}
    modules |= {f"refine{k}": getattr(scratch, f"refinenet{k}") for k in (1, 2, 3, 4)}
    modules |= {"output_conv1": scratch.output_conv1, "logits": scratch.output_conv2}
    last_input = []
    hook = scratch.output_conv2.register_forward_pre_hook(lambda module, args: last_input.append(args[0]))
    with watched(modules) as seen:
        geometry = depth_head(given_levels(meta), tuple(meta["grid"]), (meta["H"], meta["W"]))
    hook.remove()
    assert geometry.rays is None and geometry.ray_confidence is None
    compare(heads, "depth", geometry.depth[..., None], BOUND)
    compare(heads, "depth_conf", geometry.depth_confidence[..., ::2, ::2], BOUND)
    for name, (channels, pixels) in meta["strides_channel_pixel"].items():
        short = name.removeprefix("depth.")
        x = last_input[0] if short == "output_conv2_in" else seen[short][0]
        compare(heads, name, x[0, ::channels, ::pixels, ::pixels], BOUND)


def test_point_head(heads, point_head, compare):
    meta = heads.meta
    points, confidence = point_head(given_levels(meta), tuple(meta["grid"]), (meta["H"], meta["W"]))
    compare(heads, "point", points[:, :, ::2, ::2], BOUND)
    compare(heads, "point_conf", confidence[..., ::2, ::2], BOUND)


@pytest.mark.parametrize(("channels", "size", "stride"), [(256, (4, 5), 1), (1024, (4, 5), 1), (128, (56, 70), 4)])
def test_position_embedding(heads, compare, channels, size, stride):
    embedding = uv_embedding(channels, size, heads.meta["W"] / heads.meta["H"])
    name = f"dpt_pos_embed_c{channels}_{size[0]}x{size[1]}"
    compare(heads, name, embedding[::8, ::stride, ::stride], BOUND)


def test_camera_head(heads, camera_head, compare):
    meta = heads.meta
    tokens = given("camera_token", (meta["camera"]["B"], meta["camera"]["S"], C), meta["seed"])
    trunk_input = []
    hook = camera_head.trunk.register_forward_pre_hook(lambda module, args: trunk_input.append(args[0]))
    with watched({"delta": camera_head.pose_branch}) as seen:
        encoding = camera_head(tokens)
    hook.remove()
    compare(heads, "cam_pose_encoding", encoding, BOUND)
    deltas = torch.stack(seen["delta"])
    compare(heads, "cam_delta", deltas, BOUND)
    compare(heads, "cam_pre_activation", deltas.cumsum(dim=0), BOUND)
    compare(heads, "cam_trunk_in_every32", torch.stack(trunk_input)[..., ::32], BOUND)
    assert torch.equal(camera_head(tokens, iterations=2), encoding[:2])


def test_pose_encoding(heads, compare):
    size = heads.meta["H"], heads.meta["W"]
    w2c, K = decode_camera(heads["pose_encoding_in"], size)
    compare(heads, "pose_w2c", w2c[..., :3, :], BOUND)
    compare(heads, "pose_K", K, BOUND)
    compare(heads, "pose_encoding_back", encode_camera(w2c, K, size), BOUND)
    encoding = encode_camera(heads["pose_w2c_in"], heads["pose_K_in"], size)
    compare(heads, "pose_encoding_of_cameras", encoding, BOUND)


def test_whole_network(heads, depth_head, point_head, camera_head, compare):
    with torch.device("meta"):  # 10 s of random weights less
        encoder = GeometryEncoder(VGGT_1B)
    recipe(encoder.to_empty(device="cpu"), Part("aggregator.", vggt_block))
    images = heads["net_images_u8"].float() / 255
    size = images.shape[-2], images.shape[-1]
    levels = encoder(images)
    patches = [encoder.to_decoder(level) for level in levels]
    geometry = depth_head(patches, levels[0].grid, size)
    points, confidence = point_head(patches, levels[0].grid, size)
    compare(heads, "net_depth", geometry.depth, BOUND)
    compare(heads, "net_depth_conf", geometry.depth_confidence[..., ::2, ::2], BOUND)
    compare(heads, "net_points", points[:, :, ::2, ::2], BOUND)
    compare(heads, "net_points_conf", confidence[..., ::2, ::2], BOUND)
    compare(heads, "net_pose_encoding", camera_head(levels[3].camera), BOUND)
