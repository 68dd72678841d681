# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PRoPE and camera maps against the official code (fixture f), quirks included."""

import pytest
import torch

from gld_ros.diffusion.conditioning import RequestCameras, normalized_poses
from gld_ros.networks import prope
from gld_ros.networks.configs import DiTCompat
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.layers import attend
from gld_ros.networks.released import GLD_DA3

BOUND = 1e-5
FIXTURE = "camera_map"
RELEASED = DiTCompat(uninverted_intrinsics=True)


@pytest.mark.parametrize(("prefix", "sources"), [("", 2), ("id_", 1)])
def test_camera_map(fixture, compare, prefix, sources):
    """Two scenes, and one whose last view is the identity already."""
    K, c2w = fixture[f"{prefix}K"], fixture[f"{prefix}c2w"]
    size = fixture.meta["H"], fixture.meta["W"]
    with torch.device("meta"):
        dit = MultiViewDiT(1536, 14, GLD_DA3.level1)
    grid = size[0] // 14, size[1] // 14
    maps = RequestCameras(K, c2w, sources, size, grid, GLD_DA3.compat).condition(dit).camera_map
    compare(fixture, f"{prefix}camera_map_stride2", maps.flatten(0, 1)[..., ::2, ::2], BOUND)
    if prefix == "":
        compare(fixture, "camera_map_view0", maps[0, 0], BOUND)
        compare(fixture, "camera_map_last_view", maps[0, -1], BOUND)
    w2c = normalized_poses(c2w, world_frame=True)[1]
    compare(fixture, f"{prefix}viewmats", w2c, BOUND)
    scale = w2c[..., :3, 3].norm(dim=(1, 2)) / torch.linalg.inv(c2w)[..., :3, 3].norm(dim=(1, 2))
    compare(fixture, f"{prefix}scale", scale[:, None, None], BOUND)


def tables(fixture, compat: DiTCompat = RELEASED, identity: bool = False) -> prope.CameraTables:
    case = fixture.meta["prope"]
    K, w2c = fixture["prope_K"], fixture["prope_viewmats"]
    if identity:
        K, w2c = (torch.eye(x.shape[-1]).expand_as(x) for x in (K, w2c))
    size, grid = (case["image_height"], case["image_width"]), (case["patches_y"], case["patches_x"])
    return prope.camera_tables(K, w2c, size, grid, case["head_dim"], compat)


def attention(fixture, cameras: prope.CameraTables):
    q, k, v = (fixture[f"prope_{name}"] for name in "qkv")
    return prope.decode(attend(*prope.encode(q, k, v, cameras)), cameras)


def test_transforms(fixture, compare):
    cameras = tables(fixture)
    q, k, _ = prope.encode(fixture["prope_q"], fixture["prope_k"], fixture["prope_v"], cameras)
    compare(fixture, "prope_q_transformed", q, BOUND)
    compare(fixture, "prope_k_transformed", k, BOUND)
    compare(fixture, "prope_o_of_q", prope.decode(fixture["prope_q"], cameras), BOUND)
    for kind in ("cos", "sin"):
        columns, rows = getattr(cameras, kind).chunk(2, dim=-1)
        compare(fixture, f"rope_x_{kind}", columns, BOUND)
        compare(fixture, f"rope_y_{kind}", rows, BOUND)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("prope_out", {}),
        ("prope_out_identity", {"identity": True}),
        ("prope_out_norm504", {"compat": DiTCompat(uninverted_intrinsics=True, fixed_image_size=504)}),
    ],
)
def test_attention(fixture, compare, name, options):
    compare(fixture, name, attention(fixture, tables(fixture, **options)), BOUND)


def test_without_the_quirks_the_cameras_cancel(fixture):
    """As published: the same camera for all views is no camera; nor do the world's axes and origin matter."""
    cameras = tables(fixture, DiTCompat())
    one = prope.CameraTables(
        *(m[:, :1].expand_as(m) for m in (cameras.project, cameras.unproject)), cameras.cos, cameras.sin
    )
    none = tables(fixture, DiTCompat(), identity=True)
    none = prope.CameraTables(*(torch.eye(4).expand_as(none.project),) * 2, none.cos, none.sin)
    assert torch.allclose(attention(fixture, one), attention(fixture, none), atol=1e-4)
    assert not torch.allclose(attention(fixture, cameras), attention(fixture, none), atol=1e-2)
