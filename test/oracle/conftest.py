# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compares with the official code's numbers, and prints a summary of the errors. Shares the networks of full size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import gen3r_recipe
import pytest
import torch
from oracle import STATISTICS, Golden, Place, built, golden_file
from torch import Tensor, nn

from gld_ros.networks.camera_head import CameraHead
from gld_ros.networks.dpt import DualDPT, PointDPT
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.configs import AdapterConfig
from gld_ros.networks.gen3r.towers import ImageTower, VideoVAE
from gld_ros.networks.released import DA3_BASE, VGGT_1B, VGGT_HEAD
from gld_ros.weights.folder import KeyNames
from gld_ros.weights.official_layout import vggt_block

COMPLETENESS = "test_completeness.py"
#: Modules whose networks have gigabytes, so that few are needed at a time; others come first.
LARGE = [
    f"test_{name}.py"
    for name in (
        "end_to_end", "vggt_encoder", "vggt_gld", "vggt_heads", "gen3r_geometry", "gen3r_adapter", "gen3r_conditions",
        "gen3r_vae", "gen3r_towers", "gen3r_end_to_end", "completeness",
    )
]  # fmt: skip
#: Of bfloat16, which has 8 bits, after some ten layers: |ours - reference| / |reference|, in place of the maxima.
BFLOAT16_BOUND = 0.1


@dataclass
class Comparison:
    fixture: str
    array: str
    max_abs: float
    relative: float
    bound: float


@dataclass
class Picture:
    """How near an image in bfloat16 is to the official one in float32, decibels."""

    fixture: str
    array: str
    psnr: float
    at_least: float


class Compare:
    """Asserts, and keeps for the summary what it measured."""

    def __init__(self) -> None:
        self.arrays: list[Comparison] = []
        self.least_bound = 0.0
        self.pictures: list[Picture] = []

    def __call__(self, source: Golden, name: str, ours: Tensor, bound: float, reference: Tensor | None = None) -> None:
        """max(|ours - reference|) / max(|reference|) must be within the bound; reference: part of the named array."""
        reference = source[name] if reference is None else reference
        ours, reference, bound = ours.detach().cpu(), reference.cpu(), max(bound, self.least_bound)
        assert tuple(ours.shape) == tuple(reference.shape), f"{name}: {tuple(ours.shape)}, not {tuple(reference.shape)}"
        error = float((ours.double() - reference.double()).abs().max())
        relative = error / max(float(reference.double().abs().max()), 1e-30)
        if self.least_bound:  # rounding of bfloat16 is noise: its power counts, not its rarest value
            relative = float((ours.double() - reference.double()).norm() / reference.double().norm().clamp_min(1e-30))
        self.arrays.append(Comparison(source.name, name, error, relative, bound))
        assert relative <= bound, f"{source.name}: {name} is off by {relative:.2e} of its maximum, allowed {bound:.0e}"

    def mask(self, source: Golden, name: str, ours: Tensor, bound: float) -> None:
        """The share of the pixels in which two masks differ must be within the bound."""
        self(source, name, ours.float(), 1.0, source[name].float())
        differing = float((ours != source[name]).double().mean())
        self.arrays[-1] = Comparison(source.name, name, differing, differing, bound)
        assert differing <= bound, (
            f"{source.name}: {name} differs in {differing:.2e} of its pixels, allowed {bound:.0e}"
        )

    def psnr(self, source: Golden, name: str, ours: Tensor, at_least: float) -> None:
        """The peak signal-to-noise ratio of an image of range 1, in decibels, must reach the bound."""
        ours, reference = ours.cpu(), source[name].cpu()
        assert tuple(ours.shape) == tuple(reference.shape), f"{name}: {tuple(ours.shape)}, not {tuple(reference.shape)}"
        psnr = -10 * float((ours.double() - reference.double()).square().mean().log10())
        self.pictures.append(Picture(source.name, name, psnr, at_least))
        assert psnr >= at_least, f"{source.name}: {name} has {psnr:.1f} dB, expected {at_least:.0f}"

    def summary(self) -> Mapping[str, dict]:
        """Per fixture file: how many arrays were compared, and the worst of each error."""
        table: dict[str, dict] = {}
        for result in self.arrays:
            row = table.setdefault(result.fixture, {"arrays": 0, "max_abs": 0.0, "max_relative": 0.0, "worst": ""})
            row["arrays"] += 1
            row["max_abs"] = max(row["max_abs"], result.max_abs)
            of_bound = result.relative / max(result.bound, 1e-30)
            if of_bound >= row.get("of_bound", 0.0):
                row |= {"worst": result.array, "of_bound": of_bound}
            row["max_relative"] = max(row["max_relative"], result.relative)
        return dict(sorted(table.items()))


_compare = Compare()
_passed: set[str] = set()
_deselected: list[str] = []
#: Networks of full size, by their fixtures.
_networks: dict[str, nn.Module] = {}


def pytest_addoption(parser):
    parser.addoption("--report", metavar="FILE", help="write the oracle tests' errors to a JSON file")
    parser.addoption("--oracle-device", default="cpu", help="where the networks run: cpu or cuda")
    parser.addoption("--oracle-bfloat16", action="store_true", help="under autocast, with the bounds of bfloat16")


def pytest_configure(config):
    Place.device = torch.device(config.getoption("--oracle-device", default="cpu"))
    # The bounds are those of float32: TF32 has 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def precision(request):
    """Float32, or autocast to bfloat16 with bounds to suit."""
    asked = request.config.getoption("--oracle-bfloat16", default=False)
    _compare.least_bound = BFLOAT16_BOUND if asked else 0.0
    with torch.autocast(Place.device.type, torch.bfloat16, enabled=asked):
        yield


def pytest_collection_modifyitems(items):
    place = {name: k for k, name in enumerate(LARGE)}
    items.sort(key=lambda item: place.get(item.path.name, -1))  # others keep their order


def pytest_runtest_teardown(item, nextitem):
    """Drop the weights of networks that no later test needs."""
    later = item.session.items[item.session.items.index(nextitem) :] if nextitem else []
    for name in [name for name in _networks if not any(name in test.fixturenames for test in later)]:
        _networks.pop(name).to("meta")


def pytest_deselected(items):
    _deselected.extend(item.nodeid for item in items)


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)


@pytest.fixture(scope="session")
def all_ran(request) -> None:
    """Skips unless the whole folder was asked for and every test of golden arrays in it passed."""
    here, start = Path(__file__).parent, request.config.invocation_params.dir
    asked = [(start / argument).resolve() for argument in request.config.args]
    if _deselected or not any(path in (here, *here.parents) for path in asked):
        pytest.skip("not all tests of golden arrays were asked for")
    tests = [t for t in request.session.items if "golden" in t.fixturenames and t.path.name != COMPLETENESS]
    if without := [test.nodeid for test in tests if test.nodeid not in _passed]:
        pytest.skip(f"{len(without)} tests of golden arrays did not pass or were skipped")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """golden("camera_map") -> Golden."""
    return golden_file


@pytest.fixture
def fixture(golden, request) -> Golden:
    """The one that a module's tests are about, by its FIXTURE."""
    return golden(request.module.FIXTURE)


@pytest.fixture(scope="session")
def statistics() -> Golden:
    """The official latent statistics; skips where they are not at hand."""
    if not STATISTICS.is_file():
        pytest.skip(f"needs the official latent statistics ({STATISTICS}), which are not redistributed")
    return Golden(STATISTICS)


@pytest.fixture(scope="session")
def compare() -> Compare:
    """compare(golden, name, ours, bound), compare.psnr(golden, name, ours, decibels)."""
    return _compare


# The networks of full size are built once and only read; see `pytest_runtest_teardown`.


def kept(name: str, net: nn.Module) -> nn.Module:
    _networks[name] = net
    return net


@pytest.fixture(scope="session")
def da3_base() -> GeometryEncoder:
    """The encoder of DA3-Base with the recipe's weights."""
    return kept("da3_base", built(lambda: GeometryEncoder(DA3_BASE), KeyNames("model.backbone.pretrained.")))


@pytest.fixture(scope="session")
def vggt_1b() -> GeometryEncoder:
    """VGGT's aggregator with the recipe's weights: 3.6 GB."""
    return kept("vggt_1b", built(lambda: GeometryEncoder(VGGT_1B), KeyNames("aggregator.", vggt_block)))


@pytest.fixture(scope="session")
def vggt_depth_head() -> DualDPT:
    """VGGT's depth head with the recipe's weights."""
    return kept("vggt_depth_head", built(lambda: DualDPT(VGGT_1B.channels, VGGT_HEAD), KeyNames("depth_head.")))


@pytest.fixture(scope="session")
def vggt_point_head() -> PointDPT:
    """VGGT's point head with the recipe's weights."""
    return kept("vggt_point_head", built(lambda: PointDPT(VGGT_1B.channels, VGGT_HEAD), KeyNames("point_head.")))


@pytest.fixture(scope="session")
def vggt_camera_head() -> CameraHead:
    """VGGT's camera head with the recipe's weights."""
    return kept("vggt_camera_head", built(lambda: CameraHead(VGGT_1B.channels), KeyNames("camera_head.")))


@pytest.fixture(scope="session")
def gen3r_adapter() -> GeometryAdapter:
    """Gen3R's geometry adapter with the recipe's weights, for any grid: 1.3 GB."""
    return kept("gen3r_adapter", gen3r_recipe.adapter(AdapterConfig(fixed_grid=False)))


@pytest.fixture(scope="session")
def gen3r_vae() -> VideoVAE:
    """Gen3R's video VAE with the recipe's weights."""
    return kept("gen3r_vae", gen3r_recipe.video_vae())


@pytest.fixture(scope="session")
def gen3r_image_tower() -> ImageTower:
    """Gen3R's image tower with the recipe's weights: 2.5 GB."""
    return kept("gen3r_image_tower", gen3r_recipe.image_tower())


def pytest_terminal_summary(terminalreporter, config):
    if not _compare.arrays:
        return
    terminalreporter.section("against the official numbers")
    terminalreporter.write_line(f"{'fixture':24} {'arrays':>6} {'max abs':>9} {'max rel':>9}  nearest to its bound")
    for name, row in _compare.summary().items():
        worst = f"{row['worst']} ({100 * row['of_bound']:.0f} %)"
        terminalreporter.write_line(
            f"{name:24} {row['arrays']:>6} {row['max_abs']:>9.1e} {row['max_relative']:>9.1e}  {worst}"
        )
    for picture in _compare.pictures:
        terminalreporter.write_line(
            f"{picture.fixture} in bfloat16: {picture.array} {picture.psnr:.1f} dB (at least {picture.at_least:.0f})"
        )
    report = config.getoption("--report", default=None)
    if report:
        content = {
            "fixtures": _compare.summary(),
            "arrays": [asdict(r) for r in _compare.arrays],
            "bfloat16": [asdict(p) for p in _compare.pictures],
        }
        Path(report).write_text(json.dumps(content, indent=1) + "\n")
