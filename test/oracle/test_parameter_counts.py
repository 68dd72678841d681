# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every released network without its weights: parameter counts, and the published keys with their shapes."""

import ast
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from oracle import GOLDEN
from torch import nn
from unread_heads import CameraDecoder, CameraEncoder

from gld_ros.networks.camera_head import CameraHead
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import DualDPT, PointDPT
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.released import DA3_BASE, DA3_BASE_HEAD, GLD_DA3, GLD_VGGT, RGB_DECODER, VGGT_1B, VGGT_HEAD
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.weights.folder import KeyNames
from gld_ros.weights.official_layout import vggt_block

#: Published, read by nothing: the stem was trained with masked patches. Our networks do without.
UNUSED = {"aggregator.patch_embed.mask_token": (1, 1024)}

DA3_PARTS = {
    "backbone": (lambda: GeometryEncoder(DA3_BASE), KeyNames("backbone.pretrained.")),
    "head": (lambda: DualDPT(DA3_BASE.channels, DA3_BASE_HEAD), KeyNames("head.")),
    "cam_enc": (lambda: CameraEncoder(DA3_BASE.width), KeyNames("cam_enc.")),
    "cam_dec": (lambda: CameraDecoder(DA3_BASE.channels), KeyNames("cam_dec.")),
}
VGGT_PARTS = {
    "aggregator": (lambda: GeometryEncoder(VGGT_1B), KeyNames("aggregator.", vggt_block)),
    "camera_head": (lambda: CameraHead(VGGT_1B.channels), KeyNames("camera_head.")),
    "depth_head": (lambda: DualDPT(VGGT_1B.channels, VGGT_HEAD), KeyNames("depth_head.")),
    "point_head": (lambda: PointDPT(VGGT_1B.channels, VGGT_HEAD), KeyNames("point_head.")),
}
DITS = {
    "da3_level1": lambda: MultiViewDiT(DA3_BASE.channels, 14, GLD_DA3.level1),
    "da3_cascade": lambda: MultiViewDiT(DA3_BASE.channels, 14, GLD_DA3.level0),
    "vggt_level1": lambda: MultiViewDiT(VGGT_1B.channels, 14, GLD_VGGT.level1),
    # As its yaml says; the published file has more blocks in the head (below).
    "vggt_cascade": lambda: MultiViewDiT(VGGT_1B.channels, 14, replace(GLD_VGGT.level0, head_depth=2)),
}


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """A network without memory."""
    with torch.device("meta"):
        return build()


def parameters(*builds: Callable[[], nn.Module]) -> int:
    return sum(p.numel() for build in builds for p in on_meta(build).parameters())


def published(file: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a list in test/golden; gld_keys has the network in front of the key."""
    lines = (GOLDEN / file).read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    if file == "gld_keys.txt":
        rows = [[f"{row[0]}/{row[1]}", row[2]] for row in rows]
    return {row[0]: ast.literal_eval(row[1]) for row in rows}


@pytest.mark.parametrize(
    ("builds", "count"),
    [
        pytest.param([DITS["da3_level1"]], 783_326_716, id="da3-level1"),
        pytest.param([DITS["da3_cascade"]], 472_541_268, id="da3-cascade"),
        pytest.param([DITS["vggt_level1"]], 805_890_556, id="vggt-level1"),
        pytest.param([DITS["vggt_cascade"]], 503_758_676, id="vggt-cascade-yaml"),
        pytest.param(
            [lambda: MultiViewDiT(VGGT_1B.channels, 14, GLD_VGGT.level0)], 805_890_556, id="vggt-cascade-file"
        ),
        pytest.param([lambda: RGBDecoder(DA3_BASE.channels, 14, RGB_DECODER)], 422_536_396, id="da3-rgb"),
        pytest.param([lambda: RGBDecoder(VGGT_1B.channels, 14, RGB_DECODER)], 424_895_692, id="vggt-rgb"),
        pytest.param([build for build, _ in DA3_PARTS.values()], 135_366_599, id="da3-base"),
        pytest.param([VGGT_PARTS["aggregator"][0]], 909_112_320 - 1024, id="vggt-aggregator-without-mask-token"),
        pytest.param([VGGT_PARTS["camera_head"][0]], 216_174_610, id="vggt-camera-head"),
        pytest.param([VGGT_PARTS["depth_head"][0]], 32_654_562, id="vggt-depth-head"),
        pytest.param([VGGT_PARTS["point_head"][0]], 32_654_628, id="vggt-point-head"),
    ],
)
def test_parameter_count(builds, count):
    assert parameters(*builds) == count


@pytest.mark.parametrize(
    ("file", "build", "part"),
    [
        *[pytest.param("da3_base_keys.txt", *row, id=f"da3-{name}") for name, row in DA3_PARTS.items()],
        *[pytest.param("vggt_keys.txt", *row, id=f"vggt-{name}") for name, row in VGGT_PARTS.items()],
        *[pytest.param("gld_keys.txt", build, KeyNames(f"{name}/"), id=name) for name, build in DITS.items()],
    ],
)
def test_published_keys(file, build, part):
    wanted = {k: v for k, v in published(file).items() if k.startswith(part.prefix) and k not in UNUSED}
    ours = {part.key(k): tuple(v.shape) for k, v in on_meta(build).state_dict().items()}
    assert wanted and ours == wanted


def test_the_parts_cover_the_published_lists():
    """All but VGGT's track head, which GLD has no use for, and what nothing reads."""
    prefixes = tuple(part.prefix for _, part in (*DA3_PARTS.values(), *VGGT_PARTS.values())) + ("track_head.",)
    prefixes += tuple(f"{name}/" for name in DITS)
    keys = [k for file in ("da3_base_keys.txt", "vggt_keys.txt", "gld_keys.txt") for k in published(file)]
    assert len(keys) == 443 + 1797 + 438 + 430 + 390 + 378
    assert [k for k in keys if not k.startswith(prefixes)] == []
    assert UNUSED.items() <= published("vggt_keys.txt").items()


def test_gen3r():
    """The image tower without its projection (1280 x 1024), VGGT without its track head and what is unused."""
    net = on_meta(lambda: Gen3RNetworks(Gen3RConfig()))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    vggt = counts.pop("encoder") + counts.pop("heads")
    assert vggt == 1_190_596_120 - math.prod(UNUSED["aggregator.patch_embed.mask_token"])
    assert counts == {
        "adapter": 317_844_304,
        "vae": 126_892_531,
        "transformer": 1_616_337_728,
        "text": 5_680_910_336,
        "image": 632_076_800 - 1280 * 1024,
    }
