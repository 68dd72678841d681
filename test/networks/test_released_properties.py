# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Properties of networks built like the released ones, for any weights."""

from dataclasses import replace

import pytest
import torch
from builders.models import shaken

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.networks.configs import DPTConfig, EncoderConfig, RGBDecoderConfig, StemConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.released import DA3_BASE, GLD_DA3, GLD_VGGT, VGGT_1B
from gld_ros.networks.rgb_decoder import RGBDecoder

SMALL = {"width": 32, "depth": 2, "heads": 2, "head_width": 48, "head_depth": 1, "head_heads": 2}
STAGES = {
    "da3-level1": (GLD_DA3, replace(GLD_DA3.level1, **SMALL)),
    "da3-cascade": (GLD_DA3, replace(GLD_DA3.level0, **SMALL, level1_channels=6)),
    "vggt-level1": (GLD_VGGT, replace(GLD_VGGT.level1, **SMALL)),
    "vggt-cascade": (GLD_VGGT, replace(GLD_VGGT.level0, **SMALL, level1_channels=6)),
}
ENCODERS = {
    "mini": EncoderConfig(),
    "da3": replace(DA3_BASE, width=24, heads=2, position_grid=5),
    "vggt": replace(
        VGGT_1B,
        width=24,
        heads=2,
        position_grid=5,
        stem=StemConfig(depth=2, heads=2),
        schedule="LG" * 4,
        taps=(1, 3, 5, 7),
    ),
}
BY = {"mini": 0.05, "da3": 0.2, "vggt": 0.2}
GRID, SIZE, SOURCES, VIEWS = (2, 3), (28, 42), 2, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


class Stage:
    """A small diffusion stage and a request of two scenes, two sources and three targets each."""

    def __init__(self, name: str):
        self.model, config = STAGES[name]
        self.dit = shaken(MultiViewDiT(6, 14, config), by=0.2)
        S = config.special_tokens
        shape = (2, VIEWS, 6, S + GRID[0] * GRID[1], 1) if S else (2, VIEWS, 6, *GRID)
        self.noisy, self.condition = torch.randn(2, *shape).unbind(0)
        self.condition[:, SOURCES:] = 0
        self.level1 = torch.randn(shape) if config.level1_channels else None
        self.t = torch.tensor([0.9, 0.2])
        self.K = torch.tensor([[40.0, 0, 21], [0, 35, 14], [0, 0, 1]]).repeat(2, VIEWS, 1, 1)
        self.K[..., :2, :2] *= 1 + 0.2 * torch.rand(2, VIEWS, 1, 1)
        turn = 0.3 * torch.randn(2, VIEWS, 3, 3)
        self.c2w = torch.eye(4).repeat(2, VIEWS, 1, 1)
        self.c2w[..., :3, :3] = torch.linalg.matrix_exp(turn - turn.mT)
        self.c2w[..., :3, 3] = torch.randn(2, VIEWS, 3)

    def __call__(self, order: list[int] | slice = slice(None), scenes: slice = slice(None), world=None, drop=False):
        """The velocity of views in another order, of some scenes, or with the world moved by a matrix."""
        K, c2w = self.K[scenes, order], self.c2w[scenes, order]
        c2w = c2w if world is None else world @ c2w
        cameras = RequestCameras(K, c2w, SOURCES, SIZE, GRID, self.model.compat).condition(self.dit, drop)
        level1 = None if self.level1 is None else self.level1[scenes, order]
        noisy, condition = self.noisy[scenes, order], self.condition[scenes, order]
        return self.dit(noisy, condition, self.t[scenes], cameras.camera_map, cameras.tables, SOURCES, level1)


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [0, 1, 3, 2, 4]], ids=["sources", "targets"])
def test_order_of_views_is_order_of_outputs(name, order):
    """It holds for the sources, and for the targets before the last, which is the cameras' frame."""
    stage = Stage(name)
    assert same(stage(order), stage()[:, order])
    assert not same(stage(order), stage(), 0.01)


@pytest.mark.parametrize("name", STAGES)
def test_a_source_is_no_target(name):
    stage = Stage(name)
    order = [2, 1, 0, 3, 4]
    assert not same(stage(order), stage()[:, order], 0.01)


@pytest.mark.parametrize("name", STAGES)
def test_scenes_of_a_batch_know_nothing_of_each_other(name):
    stage = Stage(name)
    assert same(stage(scenes=slice(1, 2)), stage()[1:])


def test_the_world_has_no_say():
    """Its origin, axes and unit; except that VGGT's special tokens, which carry no camera, see its axes and origin."""
    turn = torch.randn(3, 3)
    rigid = torch.eye(4)
    rigid[:3, :3], rigid[:3, 3] = torch.linalg.matrix_exp(turn - turn.mT), 3 * torch.randn(3)
    for name in STAGES:
        stage = Stage(name)
        straight = stage()
        assert same(stage(world=rigid), straight) == name.startswith("da3")
        stage.c2w[..., :3, 3] *= 7
        assert same(stage(), straight)


@pytest.mark.parametrize("name", STAGES)
def test_the_unconditional_branch_knows_no_poses(name):
    stage = Stage(name)
    dropped = stage(drop=True)
    stage.c2w = stage.c2w.flip(1)
    assert torch.equal(stage(drop=True), dropped) and not same(stage(), dropped, 0.01)


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoder_resumes_bit_for_bit(kind):
    encoder = shaken(GeometryEncoder(ENCODERS[kind]), by=BY[kind])
    patch = encoder.config.patch
    levels = encoder(torch.rand(2, 3, 3, 2 * patch, 5 * patch))
    for k in range(4):
        for straight, resumed in zip(levels[k + 1 :], encoder.resume(levels[k], k), strict=True):
            assert torch.equal(straight.tokens, resumed.tokens)


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoder_treats_all_views_but_the_first_alike(kind):
    encoder = shaken(GeometryEncoder(ENCODERS[kind]), by=BY[kind])
    patch, order, other = encoder.config.patch, [0, 3, 1, 2], [1, 0, 2, 3]
    images = torch.rand(1, 4, 3, 2 * patch, 3 * patch)
    last, permuted, reference = (encoder(x)[3].tokens for x in (images, images[:, order], images[:, other]))
    assert same(permuted, last[:, order])
    assert not same(reference, last[:, other], 0.01)


def test_decoders_see_each_view_alone():
    levels = [torch.randn(2, 3, GRID[0] * GRID[1], 8) for _ in range(4)]
    one = [level[1:, 2:] for level in levels]
    rgb = shaken(RGBDecoder(8, 14, RGBDecoderConfig(width=32, depth=2, heads=2, hidden=64, base_grid=4)), by=0.2)
    assert same(rgb(one, GRID), rgb(levels, GRID)[1:, 2:])
    head = shaken(DualDPT(8, DPTConfig(features=16, out_channels=(8, 8, 8, 8), aux_convs=5)), by=0.02)
    alone, together = head(one, GRID, SIZE), head(levels, GRID, SIZE)
    for name in ("depth", "depth_confidence", "rays", "ray_confidence"):
        assert same(getattr(alone, name), getattr(together, name)[1:, 2:])


def test_rgb_decoder_reads_every_level_and_place():
    """No level is ignored, and the picture of a transposed grid is another one."""
    levels = [torch.randn(1, 1, GRID[0] * GRID[1], 8) for _ in range(4)]
    rgb = shaken(RGBDecoder(8, 14, RGBDecoderConfig(width=32, depth=2, heads=2, hidden=64, base_grid=4)), by=0.2)
    image = rgb(levels, GRID)
    assert image.shape == (1, 1, 3, *SIZE)
    for k in range(4):
        assert not torch.equal(rgb([torch.zeros_like(x) if i == k else x for i, x in enumerate(levels)], GRID), image)
    assert rgb(levels, GRID[::-1]).shape == (1, 1, 3, *SIZE[::-1])
