# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Live parity with the depth-anything-3 wheel: toy networks of random shape and random weights."""

import math
import os
import random
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from unread_heads import CameraDecoder, CameraEncoder, da3_cameras_from_rays

from gld_ros.geometry.ray_pose import cameras_from_rays
from gld_ros.networks.camera_head import decode_camera
from gld_ros.networks.configs import DPTConfig, EncoderConfig
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.encoder import GeometryEncoder, normalize_images

os.environ["DA3_LOG_LEVEL"] = "ERROR"  # it logs to stdout
pytest.importorskip("depth_anything_3", reason="needs the wheel depth-anything-3 (pip install --no-deps)")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from depth_anything_3.model.cam_dec import CameraDec
    from depth_anything_3.model.cam_enc import CameraEnc
    from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer
    from depth_anything_3.model.dualdpt import DualDPT as WheelDPT
    from depth_anything_3.model.utils.transform import pose_encoding_to_extri_intri
    from depth_anything_3.utils.ray_utils import get_extrinsic_from_camray

BOUND = 1e-5


def close(ours: Tensor, theirs: Tensor, bound: float = BOUND) -> bool:
    """Whether max |ours - theirs| is within `bound` of max |theirs|."""
    assert ours.shape == theirs.shape and theirs.abs().max() > 0
    return bool((ours - theirs).abs().max() <= bound * theirs.abs().max())


def shuffle(net: nn.Module, seed: int) -> nn.Module:
    """Random parameters, scales and layer scale too, such that every one of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim == 1:
            p.data = 0.2 * noise + (1 if name.endswith(("weight", "gamma")) else 0)
        else:
            table = "token" in name or "pos_embed" in name
            p.data = noise * (0.5 if table else p[0].numel() ** -0.5)
    return net.eval().requires_grad_(False)


@dataclass
class Case:
    """A random encoder and what it is given."""

    config: EncoderConfig
    grid: tuple[int, int]
    scenes: int
    views: int

    @classmethod
    def draw(cls, seed: int) -> "Case":
        rng = random.Random(seed)
        blocks = rng.randint(6, 9)
        # Where the alternation begins, and the tokens change; with 3 views, the wheel cannot begin at block 1.
        start = rng.choice([0, *range(2, blocks - 2)])
        # A tap of the very block where it begins, if that is a global one, has token 0 overwritten in its local half.
        places = [i for i in range(blocks) if i != start or start % 2 == 0]
        heads, table = rng.choice([1, 2, 3]), rng.randint(3, 6)
        config = EncoderConfig(
            width=heads * rng.choice([8, 12, 20]),
            heads=heads,
            patch=rng.choice([4, 7, 14]),
            position_grid=table,
            schedule="".join("G" if i >= start and i % 2 else "L" for i in range(blocks)),
            taps=tuple(sorted(rng.sample(places, 4))),
            camera_token_from=start,
            qk_norm_from=rng.randint(0, blocks),
            rope_from=rng.randint(0, blocks - 1),
            position_offset=0.1,
        )
        # The table's own grid, one of as many patches, others.
        grid = rng.choice([(table, table), (1, table**2), (rng.randint(2, 5), rng.randint(4, 7)), (7, 2)])
        return cls(config, grid, rng.randint(1, 2), rng.randint(1, 4))

    def networks(self, seed: int) -> tuple[GeometryEncoder, nn.Module]:
        """Ours and the wheel's with the same weights."""
        config = self.config
        theirs = DinoVisionTransformer(
            img_size=config.position_grid * config.patch,
            patch_size=config.patch,
            embed_dim=config.width,
            depth=len(config.schedule),
            num_heads=config.heads,
            alt_start=config.camera_token_from,
            qknorm_start=config.qk_norm_from,
            rope_start=config.rope_from,
        )
        ours = GeometryEncoder(config).eval()
        ours.load_state_dict(shuffle(theirs, seed).state_dict(), strict=True)
        return ours.requires_grad_(False), theirs

    def images(self) -> Tensor:
        h, w = self.grid
        return torch.rand(self.scenes, self.views, 3, h * self.config.patch, w * self.config.patch)


@pytest.mark.parametrize("seed", range(24))
def test_encoder(seed):
    case = Case.draw(seed)
    ours, theirs = case.networks(seed)
    images = case.images()
    # By default the wheel puts another view first, depending on the images; GLD never does.
    expected, _ = theirs.get_intermediate_layers(
        normalize_images(images), n=case.config.taps, ref_view_strategy="first"
    )
    levels = ours(images)
    for level, (patches, camera) in zip(levels, expected, strict=True):
        assert close(ours.to_decoder(level), patches)
        assert close(level.camera, camera)
    for k in range(3):
        for resumed, level in zip(ours.resume(levels[k], k), levels[k + 1 :], strict=True):
            assert torch.equal(resumed.tokens, level.tokens)


@pytest.mark.parametrize("seed", range(8))
def test_head(seed):
    rng = random.Random(seed)
    features, convs, channels = rng.choice([8, 16, 24]), rng.choice([1, 3, 5]), rng.choice([6, 16, 30])
    out_channels = tuple(4 * rng.randint(1, 4) for _ in range(4))
    theirs = WheelDPT(
        channels,
        patch_size=14,
        features=features,
        out_channels=out_channels,
        aux_pyramid_levels=1 if convs == 1 else 4,
        aux_out1_conv_num=convs,
    )
    ours = DualDPT(channels, DPTConfig(features=features, out_channels=out_channels, aux_convs=convs)).eval()
    ours.load_state_dict(shuffle(theirs, seed).state_dict(), strict=True)
    grid, views = (rng.randint(2, 5), rng.randint(2, 6)), (rng.randint(1, 2), rng.randint(1, 3))
    size = grid[0] * 14, grid[1] * 14
    levels = [torch.randn(*views, grid[0] * grid[1], channels) for _ in range(4)]
    with torch.no_grad():
        expected = theirs([(level,) for level in levels], *size, patch_start_idx=0)
        geometry = ours(levels, grid, size)
    assert close(geometry.depth, expected.depth)
    assert close(geometry.depth_confidence, expected.depth_conf)
    assert close(geometry.rays, expected.ray)
    assert close(geometry.ray_confidence, expected.ray_conf)


def cameras(seed: int, size: tuple[int, int], centred: bool = False) -> tuple[Tensor, Tensor]:
    """Random c2w (2, 3, 4, 4) and pixel K (2, 3, 3, 3)."""
    generator = torch.Generator().manual_seed(seed)
    turn = 0.2 * torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    c2w[..., :3, :3] = torch.linalg.matrix_exp(turn - turn.mT)
    c2w[..., :3, 3] = torch.randn(2, 3, 3, generator=generator)
    noise = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    H, W = size
    K = torch.eye(3, dtype=torch.float64).repeat(2, 3, 1, 1)
    K[..., 0, 0], K[..., 1, 1] = W * (0.6 + noise[..., 0]), H * (0.6 + noise[..., 1])
    shift = 0.0 if centred else 0.1
    K[..., 0, 2], K[..., 1, 2] = W / 2 + W * shift * noise[..., 2], H / 2 + H * shift * noise[..., 3]
    return c2w.float(), K.float()


@pytest.mark.parametrize("seed", range(4))
def test_camera_encoder(seed):
    width, size = 16 * (2 + seed), (28 + 14 * seed, 70)
    theirs = CameraEnc(dim_out=width)
    ours = CameraEncoder(width).eval()
    ours.load_state_dict(shuffle(theirs, seed).state_dict(), strict=True)
    c2w, K = cameras(seed, size)
    with torch.no_grad():
        assert close(ours(c2w, K, size), theirs(torch.linalg.inv(c2w), K, size))


@pytest.mark.parametrize("seed", range(4))
def test_camera_decoder(seed):
    channels, size = 12 + 8 * seed, (28 + 14 * seed, 70)
    theirs = CameraDec(dim_in=channels)
    ours = CameraDecoder(channels).eval()
    ours.load_state_dict(shuffle(theirs, seed).state_dict(), strict=True)
    ours.fc_fov[0].bias.data[:] = theirs.fc_fov[0].bias.data[:] = 1.5  # a positive field of view
    tokens = 0.3 * torch.randn(2, 3, channels)
    with torch.no_grad():
        encoding, expected = ours(tokens), theirs(tokens)
    assert close(encoding, expected)
    (pose, K), (their_pose, their_K) = decode_camera(encoding, size), pose_encoding_to_extri_intri(expected, size)
    assert close(pose[..., :3, :], their_pose[..., :3, :]) and close(K, their_K)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_pose_from_rays(seed, centred):
    """The wheel's split of R K^-1, which is exact only for centred principal points."""
    size, grid = (56, 84), (16, 24)
    c2w, K = cameras(seed, size, centred)
    rows, columns = ((torch.arange(n) + 0.5) * size[i] / n for i, n in enumerate(grid))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    directions = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ torch.linalg.inv(K)[:, :, None].transpose(-1, -2)
    directions = directions @ c2w[:, :, None, :3, :3].transpose(-1, -2)
    rays = torch.cat([directions, c2w[:, :, None, None, :3, 3].expand_as(directions)], dim=-1)
    confidence = 1 + torch.rand(rays.shape[:-1])
    torch.manual_seed(seed)
    their_c2w, focal, centre = get_extrinsic_from_camray(rays.clone(), confidence.clone()[..., None], *grid)
    half = torch.tensor([size[1] / 2, size[0] / 2])
    their_K = torch.diag_embed(torch.cat([focal * half, torch.ones(2, 3, 1)], dim=-1))
    their_K[..., :2, 2] = centre * half
    ours = da3_cameras_from_rays(rays, confidence, size)
    assert close(ours.c2w.float(), their_c2w, 1e-4) and close(ours.K.float(), their_K, 1e-4)
    exact = cameras_from_rays(rays, confidence, size)
    assert close(exact.c2w.float(), c2w, 1e-5) and close(exact.K.float(), K, 1e-5)
    assert centred == close(their_c2w, c2w, 1e-3)
    assert math.isclose(float(exact.error.max()), 0, abs_tol=1e-2)
