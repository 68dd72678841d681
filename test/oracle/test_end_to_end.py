"""The whole path, two sources and two targets in four steps, through GLDPipeline (fixtures i, n)."""

from dataclasses import replace

import pytest
import torch
from oracle import Golden, given, recipe

from gld_ros.diffusion.conditioning import camera_conditions, normalized_poses
from gld_ros.diffusion.flow import time_grid
from gld_ros.models.configs import ModelConfig, RGBDecoderConfig
from gld_ros.models.gld import GLDNetworks
from gld_ros.models.official import Part, vggt_block
from gld_ros.models.released import GLD_DA3, GLD_VGGT
from gld_ros.pipeline import GLDPipeline

BOUND = 2e-4


def toy(released: ModelConfig, fixture: Golden) -> ModelConfig:
    """The released configuration with the fixture's small transformers and decoder; encoder and head as they are."""
    stages = {}
    for name in ("level1", "cascade"):
        meta = fixture.meta[name]
        (width, head_width), (depth, head_depth), (heads, head_heads) = (
            meta["hidden_size"], meta["depth"], meta["num_heads"],
        )  # fmt: skip
        stages[name] = replace(
            getattr(released, name), width=width, depth=depth, heads=heads, head_width=head_width,
            head_depth=head_depth, head_heads=head_heads, mlp_ratio=meta["mlp_ratio"],
        )  # fmt: skip
    rgb = RGBDecoderConfig(width=64, depth=2, heads=4, hidden=128, base_grid=36)
    dim = released.encoder.channels * (18 * 18 if released is GLD_DA3 else 37 * 37)
    flow = replace(released.flow, steps=fixture.meta["num_steps"] - 1, shift_dim=dim)
    return replace(released, rgb=rgb, flow=flow, **stages)


def fill_statistics(net: GLDNetworks, statistics: Golden, family: str) -> None:
    for name, buffer in net.named_buffers():
        if name.endswith(("_mean", "_var")):
            level, kind = name.rsplit("_", 1)
            level = level.replace("special", "special_level")
            buffer.copy_(statistics[f"{family}.{level}.{kind}"])


@pytest.fixture(scope="module")
def da3(statistics) -> GLDNetworks:
    fixture = Golden_("end_to_end")
    net = GLDNetworks(toy(GLD_DA3, fixture))
    recipe(net.encoder, Part("model.backbone.pretrained."))
    recipe(net.dpt, Part("decoder."), "dpt/")
    recipe(net.rgb, Part("decoder."), "mae/")
    recipe(net.level1, salt="level1/")
    recipe(net.cascade, salt="cascade/")
    fill_statistics(net, statistics, "da3")
    return net.eval()


@pytest.fixture(scope="module")
def vggt(statistics) -> GLDNetworks:
    fixture = Golden_("end_to_end_vggt")
    net = GLDNetworks(toy(GLD_VGGT, fixture))
    recipe(net.encoder, Part("aggregator.", vggt_block))
    recipe(net.dpt, Part("depth_head."))
    recipe(net.rgb, Part("decoder."), "vggt_mae/")
    recipe(net.level1, salt="vggt_e2e_level1/")
    recipe(net.cascade, salt="vggt_e2e_cascade/")
    fill_statistics(net, statistics, "vggt")
    return net.eval()


def Golden_(name: str) -> Golden:
    from oracle import GOLDEN

    return Golden(GOLDEN / f"{name}.npz")


def run(pipe: GLDPipeline, fixture: Golden):
    """The fixture's request, and the states of both stages before each step."""
    S, seed = fixture.meta["cond"], fixture.meta["seed"]
    images = fixture["images_u8"].float() / 255
    V, C = images.shape[1], pipe.net.config.encoder.channels
    grid = images.shape[-2] // 14, images.shape[-1] // 14
    shape = grid
    if special := pipe.net.config.level1.special_tokens:
        shape = special + grid[0] * grid[1], 1
    noise = tuple(
        given(f"noise_level{k}", s, seed).view(1, V, C, *shape)
        for k, s in ((1, (V, C, *shape)), (0, (1, V, C, *shape)))
    )
    states: dict[str, list] = {"level1": [], "cascade": []}
    hooks = [
        getattr(pipe.net, name).register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0]))
        for name, kept in states.items()
    ]
    made = pipe.generate(images[:, :S], fixture["K"], fixture["c2w"], noise=noise)
    for hook in hooks:
        hook.remove()
    # Each step asks twice, without and with the condition.
    return made, {name: torch.cat(kept[2::2]) for name, kept in states.items()}


def test_da3(golden, compare, da3):
    fixture = golden("end_to_end")
    pipe = GLDPipeline(da3)
    made, states = run(pipe, fixture)
    channels = fixture["channel_index"]
    compare(fixture, "time_grid", time_grid(da3.config.flow, 4, 4), BOUND)
    images = fixture["images_u8"][:, :2].float() / 255
    latents = pipe.synthesis.encode(images)
    compare(fixture, "cond_latent_level1", latents.level1[0][:, channels[::2]], BOUND)
    compare(fixture, "cond_latent_level0", latents.level0[0][:, channels[::2]], BOUND)
    token = (latents.camera[0, 0] - da3.level1_mean) * torch.rsqrt(da3.level1_var + 1e-5)
    compare(fixture, "propagation_cls_latent", token, BOUND)
    compare(fixture, "viewmats", normalized_poses(fixture["c2w"], True)[1], BOUND)
    cameras = camera_conditions(da3.level1, fixture["K"], fixture["c2w"], 2, (56, 70), (4, 5), da3.config.compat)
    compare(fixture, "camera_map_view1_stride2", cameras.camera_map[0, 1, :, ::2, ::2], BOUND)
    for name, level in (("level1", "level1"), ("cascade", "level0")):
        compare(fixture, f"traj_{level}", states[name][:, :, channels[::4]], BOUND)
    compare(fixture, "level1_latent", made.level1[0][:, ::2], BOUND)
    compare(fixture, "level0_latent", made.level0[0][:, ::2], BOUND)
    for k, features in enumerate(made.features):
        compare(fixture, f"decoder_input_level{k}", features[0][..., channels[::4] if k < 2 else channels], BOUND)
    compare(fixture, "rgb_fp32", made.image, BOUND)
    compare(fixture, "depth", made.geometry.depth, BOUND)
    compare(fixture, "depth_conf", made.geometry.depth_confidence, BOUND)
    compare(fixture, "ray", made.geometry.rays[:, :, ::2, ::2], BOUND)
    compare(fixture, "ray_conf", made.geometry.ray_confidence, BOUND)


def test_vggt(golden, compare, vggt):
    fixture = golden("end_to_end_vggt")
    pipe = GLDPipeline(vggt)
    made, states = run(pipe, fixture)
    channels = fixture["channel_index"]
    compare(fixture, "time_grid", time_grid(vggt.config.flow, 4, 4), BOUND)
    latents = pipe.synthesis.encode(fixture["images_u8"][:, :2].float() / 255)
    compare(fixture, "cond_latent_level1", latents.level1[0, :, channels, :, 0], BOUND)
    compare(fixture, "cond_latent_level0", latents.level0[0, :, channels, :, 0], BOUND)
    for name, level in (("level1", "level1"), ("cascade", "level0")):
        compare(fixture, f"traj_{level}", states[name][:, :, channels[::4], :, 0], BOUND)
    compare(fixture, "level1_latent", made.level1[0, :, channels, :, 0], BOUND)
    compare(fixture, "level0_latent", made.level0[0, :, channels, :, 0], BOUND)
    for k, features in enumerate(made.features):
        compare(fixture, f"decoder_input_level{k}", features[0][..., channels[::4] if k < 2 else channels], BOUND)
    compare(fixture, "decoder_input_l2", torch.cat(made.features, dim=-1)[0].norm(dim=-1), BOUND)
    compare(fixture, "rgb", made.image[0], BOUND)
    compare(fixture, "depth", made.geometry.depth[0][:, None], BOUND)
    compare(fixture, "depth_conf", made.geometry.depth_confidence[0][:, None], BOUND)
