# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench` on tiny models: every command runs, its times add up, its counts are right, bad arguments are named."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.official_folder import small_config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gld_ros.benchmarks import quality, report, requests
from gld_ros.benchmarks.latency import in_parallel, measure
from gld_ros.benchmarks.requests import DISTANCE, Shape, Variant, Wall, wall_request, write_random_model
from gld_ros.benchmarks.timing import StageTimes, matrix_peak
from gld_ros.cli import main
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.scenes import held_out_scene
from gld_ros.networks.dit import MultiViewDiT, evaluation_flops
from gld_ros.networks.prope import camera_tables
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import Progress

SIZE = (42, 56)  # 3 x 4 patches
DEVICE = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch):
    """Small matrices, for a moment."""
    monkeypatch.setattr("gld_ros.benchmarks.timing.SIDES", {"cpu": (64, 96)})
    monkeypatch.setattr("gld_ros.benchmarks.timing.SECONDS", 0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small DA3-like GLD with random weights."""
    path = tmp_path_factory.mktemp("model")
    write_random_model(small_config(), path, "float32")
    return path


@pytest.fixture(scope="module")
def pipe(folder) -> GLDPipeline:
    return GLDPipeline.from_pretrained(folder, "cpu", "float32")


def run(capsys, *arguments: str) -> dict:
    """What `gld bench ARGUMENTS --json` prints."""
    assert main(["bench", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: str) -> str:
    """The error of `gld bench ARGUMENTS`."""
    assert main(["bench", *arguments]) == 1
    return capsys.readouterr().err


# ---- requests


def test_the_wall_is_seen_rightly_from_everywhere():
    wall = Wall((48, 80))
    shift = 10 * DISTANCE / wall.K[0, 0]  # metres that move the picture by 10 pixels
    a, b = wall.view(0.3), wall.view(0.3 + shift)
    np.testing.assert_array_equal(a.image[:, 10:], b.image[:, :-10])
    period = 160 * DISTANCE / wall.K[0, 0]
    np.testing.assert_array_equal(wall.view(0.3 + 1000 * period).image, a.image)
    assert a.image.shape == (48, 80, 3) and len(np.unique(a.image)) > 50


def test_requests_have_the_views_they_say():
    sources, targets = wall_request(Shape(2, 3, SIZE))
    assert len(sources) == 2 and len(targets) == 3
    places = [source.camera.center[0] for source in sources]
    assert places[0] < min(t.center[0] for t in targets) <= max(t.center[0] for t in targets) < places[1]
    with pytest.raises(InvalidRequest, match=r"views 2\+0: at least one source and one target"):
        wall_request(Shape(2, 0, SIZE))


# ---- clocks and counts


def test_stage_times_add_up():
    times = StageTimes(DEVICE)
    times.start()
    began = time.perf_counter()
    for stage, step, steps in [("encode", 0, 3), *(("level1", k, 3) for k in (1, 2, 3)), ("level0", 1, 1)]:
        time.sleep(0.01)
        times(Progress(stage, step, steps, 0.0))
    times(Progress("decode", 1, 3, 1.0))
    total = times.finish()
    assert total <= time.perf_counter() - began + 0.01
    assert sum(times.seconds.values()) == pytest.approx(total)
    assert times.steps == {"level1": 3, "level0": 1} and times.rounds == 1
    assert list(times.seconds) == ["encode", "level1", "level0", "decode", "other"]
    assert times.seconds["level1"] >= 0.03 and times.seconds["level0"] >= 0.01
    assert 0.01 <= times.step_seconds["level1"][0] <= times.seconds["level1"] - 0.01
    assert times.step_seconds["level0"] == [times.seconds["level0"]]


@pytest.mark.parametrize("kind", ["da3", "vggt"])
@pytest.mark.parametrize("stage", ["level1", "level0"])
def test_flops_are_those_that_torch_counts(kind, stage):
    config, grid, V = small_config(kind), (2, 3), 3
    channels, patch = config.encoder.channels, config.encoder.patch
    dit = MultiViewDiT(channels, patch, getattr(config, stage))
    S, size = dit.config.special_tokens, (grid[0] * patch, grid[1] * patch)
    latent = torch.zeros(1, V, channels, *((S + 6, 1) if S else grid))
    camera_map = torch.zeros(1, V, dit.config.camera_channels, *size)
    K, w2c = torch.eye(3).expand(1, V, 3, 3), torch.eye(4).expand(1, V, 4, 4)
    encoder, head = (camera_tables(K, w2c, size, grid, dim) for dim in dit.head_dims)
    level1 = latent if dit.config.level1_channels else None
    # The counter does not know the attention kernel of CPUs; written out as products it does.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        dit(latent, latent, torch.ones(1), camera_map, (encoder, head), 2, level1)
    assert evaluation_flops(config, stage, V, grid) == counter.get_total_flops()


def test_matrix_peak_is_a_speed():
    assert 1e6 < matrix_peak(DEVICE, torch.float32) < 1e15


# ---- latency


def test_latency(capsys, folder, tmp_path):
    arguments = ["--views", "2+1", "2+2", "--size", "56x42", "--steps", "2", "--repeat", "2", "--device", "cpu"]
    report = run(capsys, "latency", str(folder), *arguments, "--out", str(tmp_path))
    assert report["benchmark"] == "latency" and report["hardware"]["threads"] >= 1 and report["revision"]
    assert [case["views"] for case in report["cases"]] == [[2, 1], [2, 2]]
    for case in report["cases"]:
        assert case["model"] == "gld-da3" and case["size"] == case["working_size"] == [56, 42]
        assert list(case["stages"]) == ["encode", "level1", "level0", "decode", "other"]
        assert sum(case["stages"].values()) == pytest.approx(case["staged_s"])
        assert case["steps"] == {"level1": 2, "level0": 2} and case["repeat"] == 2
        assert all(0 < case["step_s"][level] < case["stages"][level] for level in ("level1", "level0"))
        assert 0 < case["median_s"] <= case["p95_s"]
        assert 0 < case["achieved_flops_per_s"] and 0 < case["share_of_peak"]
        # Two levels, two steps, two branches of guidance.
        views = sum(case["views"])
        flops = sum(evaluation_flops(small_config(), stage, views, (3, 4)) for stage in ("level1", "level0"))
        assert case["sampling_flops"] == 4 * flops
        sampling = case["stages"]["level1"] + case["stages"]["level0"]
        assert case["tokens_per_s"] == pytest.approx(2 * 2 * 2 * views * 12 / sampling)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "latency.png").stat().st_size > 1000
    assert "gld-da3" in (tmp_path / "table.md").read_text()


def test_latency_of_mini():
    pipe = GLDPipeline.from_pretrained("mini", "cpu")
    row = measure(pipe, Shape(2, 2, (48, 64)), Variant("fast", {"preset": "fast"}), repeat=1)
    assert row["steps"] == {"level1": 1, "level0": 1} and row["model"] == "mini"
    assert row["working_size"] != row["size"]  # mini has a size of its own
    assert sum(row["stages"].values()) == pytest.approx(row["staged_s"])
    grid = (row["working_size"][1] // 8, row["working_size"][0] // 8)
    level1, level0 = (evaluation_flops(pipe.generator.net.config, stage, 4, grid) for stage in ("level1", "level0"))
    assert row["sampling_flops"] == level1 + level0  # all four views together, one step each
    assert "share_of_peak" not in row
    assert "mini" in report.latency_table([row])


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--size", "50x42"], "multiples of 14"),
        (["--views", "9+1", "--size", "56x42"], "expected 1 to 4"),
        (["--repeat", "0", "--size", "56x42"], "0 repeats, expected at least 1"),
        (["--steps", "0"], "0 steps, expected at least 1"),
        (["--device", "tpu"], "expected cpu, cuda"),
    ],
)
def test_latency_names_what_is_wrong(capsys, folder, arguments, reason):
    assert reason in refused(capsys, "latency", str(folder), "--device", "cpu", *arguments)


# ---- quality


def test_quality(pipe, tmp_path):
    scenes = [held_out_scene(1_000_000_003 + k, interpolation=k == 0) for k in range(2)]
    asked = (
        Variant("8 steps", {"steps": 4, "size": SIZE}),
        [
            Variant("same", {"steps": 4, "size": SIZE}),
            Variant("less", {"steps": 1, "size": SIZE}),
        ],
    )
    found = quality.measure(pipe, scenes, *asked, lpips=lambda a, b: float(np.abs(a * 1.0 - b).mean()))
    reference, same, less = found["variants"]
    assert found["scenes"] == 2 and found["reference"] == "8 steps"
    assert "psnr_db" not in reference and reference["speedup"] == 1
    assert same["psnr_db"]["mean"] > 100 and same["depth_abs_rel"]["mean"] == 0 and same["lpips"]["mean"] == 0
    assert same["psnr_truth_gain_db"]["mean"] == 0
    assert less["psnr_db"]["mean"] < 60 and less["lpips"]["mean"] > 0
    gain = less["psnr_truth_db"]["mean"] - reference["psnr_truth_db"]["mean"]
    assert less["psnr_truth_gain_db"]["mean"] == pytest.approx(gain)
    report.finish("quality", found, out=tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "PSNR to 8 steps, dB" in table and "less" in table
    assert (tmp_path / "quality.png").stat().st_size > 1000
    with pytest.raises(InvalidRequest, match="no scenes"):
        quality.measure(pipe, [], *asked)
    with pytest.raises(InvalidRequest, match="names of their own"):
        quality.measure(pipe, scenes, asked[0], [asked[0]])


def test_presets_are_compared_with_exact(capsys):
    assert "expected one of exact, balanced, fast" in refused(capsys, "quality", "mini", "--preset", "quick")
    reference, others = requests.compared([], [2], 8)
    assert reference.settings == {"steps": 8} and [v.settings for v in others] == [{"steps": 2}]
    reference, others = requests.compared([], [3], None)
    assert reference.settings == {"preset": "exact"}
    assert [v.name for v in others] == ["3 steps"]
    reference, others = requests.compared([], [], None)
    assert [v.settings for v in others] == [{"preset": "balanced"}, {"preset": "fast"}]
    (asked,) = requests.requested(["fast"], 2, None)
    assert asked.settings == {"preset": "fast", "steps": 2} and asked.name == "fast steps=2"


# ---- scaling


def test_scaling(capsys, folder, tmp_path):
    arguments = ["--views", "2+2", "2+1", "--size", "56x56", "56x42", "--parallel", "2", "--steps", "1"]
    arguments += ["--repeat", "1", "--device", "cpu", "--out", str(tmp_path)]
    report = run(capsys, "scaling", str(folder), *arguments)
    assert [row["views"] for row in report["views"]] == [[2, 2], [2, 1]]
    assert [row["size"] for row in report["pixels"]] == [[56, 42], [56, 56]]
    assert [row["views"] for row in report["pixels"]] == [[2, 2]] * 2
    (row,) = report["parallel"]
    assert row["clients"] == 2 and row["repeat"] == 2 and row["requests_per_s"] > 0
    names = {"scaling-views.png", "scaling-pixels.png", "scaling-parallel.png", "report.json", "table.md"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_requests_in_parallel_wait_for_each_other(pipe):
    """The pipeline is never entered twice, and a request's latency includes its wait."""
    inside, most = 0, 0

    class Watched(nn.Module):
        generator, device = pipe.generator, DEVICE
        name = "watched"

        def forward(self, sources, targets, **settings):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

        def forget(self):
            assert inside == 0

    row = in_parallel(Watched(), Shape(2, 1, SIZE), Variant("default"), clients=3, repeat=2)
    assert most == 1 and row["repeat"] == 6
    assert row["p95_s"] > 0.04 and row["requests_per_s"] < 50
    with pytest.raises(InvalidRequest, match="0 requests in parallel"):
        in_parallel(pipe, Shape(2, 1, SIZE), Variant("default"), clients=0, repeat=1)


# ---- memory


def test_memory(capsys, folder, tmp_path):
    size = ["--size", "56x42", "--dtype", "float32"]
    report = run(capsys, "memory", str(folder), *size, "--out", str(tmp_path))
    assert report["peak_resident"] >= report["resident_loaded"] > report["resident_before"] > 0
    assert "peak / weights" in (tmp_path / "table.md").read_text()


# ---- the official code


def test_compare_names_what_is_missing(capsys, folder, tmp_path):
    arguments = ["latency", str(folder), "--size", "56x42", "--steps", "1", "--repeat", "1", "--device", "cpu"]
    assert "a checkout of the official GLD repository is expected" in refused(
        capsys, *arguments, "--compare", str(tmp_path)
    )


def test_compare_runs_the_code_of_the_folder(capsys, folder, tmp_path):
    """With our own networks under the official names and signatures, both sides are the same."""
    models = tmp_path / "src/stage2/models"
    models.mkdir(parents=True)
    for package in (models, models.parent):
        (package / "__init__.py").write_text("")
    (models / "DDT.py").write_text(STAND_IN.format(split=True))
    (models / "DDT_old.py").write_text(STAND_IN.format(split=False))
    arguments = ["--size", "56x42", "--steps", "2", "--repeat", "3", "--device", "cpu", "--dtype", "float32"]
    (row,) = run(capsys, "latency", str(folder), *arguments, "--compare", str(tmp_path))["compare"]
    assert row["difference"]["image_psnr_db"] > 60
    assert max(row["difference"]["level1"], row["difference"]["level0"]) < 1e-4
    theirs = row["official"]
    assert 0 < theirs["level1_s"] + theirs["level0_s"] + theirs["rest_s"] and row["repeat"] == len(row["speedups"]) == 3
    assert row["speedup"]["total_s"] == pytest.approx(sorted(row["speedups"])[1]) and row["speedup"]["cpu_s"] > 0
    assert row["steps"] == [2, 2] and row["ours"]["total_s"] > 0
    assert "times as fast" in report.compare_table([row])
    assert not any(name.startswith("stage2") for name in sys.modules)
    (models / "DDT.py").write_text("import a_package_that_is_not_there")
    message = refused(capsys, "latency", str(folder), *arguments, "--compare", str(tmp_path))
    assert "the official stage2.models.DDT cannot be imported" in message and "a_package_that_is_not_there" in message


#: What `official` needs of the official classes, with our network inside.
STAND_IN = """
import torch
from gld_ros.diffusion.conditioning import Cameras
from gld_ros.networks.configs import DiTCompat, DiTConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import camera_tables


class DiTwDDTHead(MultiViewDiT):
    def __init__(self, in_channels, hidden_size, depth, num_heads, mlp_ratio, cam_input_size, cam_patch_size,
                 cam_in_channels, source_condition_mode, use_prope, is_concat_mode, **rest):
        split = {split}
        assert use_prope and is_concat_mode and split == (rest.pop("architecture_mode", "old") == "new")
        compat = DiTCompat(True, 0 if split else cam_input_size, split)
        super().__init__(in_channels, cam_patch_size, DiTConfig(
            hidden_size[0], depth[0], num_heads[0], hidden_size[1], depth[1], num_heads[1], cam_in_channels, split,
            in_channels if source_condition_mode else 0, rest.pop("num_special_tokens", 0), "velocity", mlp_ratio,
            compat))
        self.patch = cam_patch_size

    def forward(self, x, t, total_view, camera, cond_num, viewmats, Ks, prope_image_size, source_condition=None):
        base, noisy = x[None].chunk(2, dim=2)
        grid = tuple(side // self.patch for side in camera.shape[-2:])
        tables = [camera_tables(Ks, viewmats, prope_image_size, grid, dim, self.config.compat)
                  for dim in self.head_dims]
        level1 = None if source_condition is None else source_condition[None]
        return super().forward(noisy, base, t[:1], camera[None], tuple(tables), cond_num, level1)[0]

    def forward_with_cfg(self, x, t, total_view, camera, scale, viewmats, Ks, **told):
        null = torch.cat([camera[:, :1], torch.zeros_like(camera[:, 1:])], dim=1)
        eye = torch.eye(4).expand_as(viewmats)
        keep = Ks if not self.config.compat.identity_null_intrinsics else torch.eye(3).expand_as(Ks)
        with_cameras = self(x, t, total_view, camera, viewmats=viewmats, Ks=Ks, **told)
        without = self(x, t, total_view, null, viewmats=eye, Ks=keep, **told)
        return without + scale * (with_cameras - without)
"""
