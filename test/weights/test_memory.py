# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Estimates before loading: published counts, measured peaks, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders.models import medium

from gld_ros.cli import main
from gld_ros.errors import OutOfMemory
from gld_ros.networks.dit import evaluation_flops
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.released import GLD_DA3, GLD_VGGT
from gld_ros.pipeline import GLDPipeline
from gld_ros.weights import memory


def test_info_of_the_released_models_without_their_weights(capsys):
    assert main(["models", "info", "gld-da3", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    counts = info["parameters"]
    assert (counts["level1"], counts["level0"], counts["rgb"]) == (783_326_716, 472_541_268, 422_536_396)
    assert info["total"] == sum(counts.values()) and info["weights"]["bfloat16"] == pytest.approx(
        2 * info["total"], rel=1e-4
    )
    sampling = {row["views"]: row["flops"] for row in info["sampling"]}
    once = sum(evaluation_flops(GLD_DA3, stage, 8, (36, 36)) for stage in ("level1", "level0"))
    assert sampling[8] == 98 * once and sampling[3] < sampling[8] / 5
    assert main(["models", "info", "gld-vggt", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["parameters"]["level1"] == 805_890_556 and info["parameters"]["rgb"] == 424_895_692


def test_info_allocates_nothing(capsys, monkeypatch):
    """Every tensor that is made while the networks are counted is on the meta device."""
    memory.parameters.cache_clear()
    made = []
    init = GLDNetworks.__init__
    monkeypatch.setattr(GLDNetworks, "__init__", lambda self, config: (init(self, config), made.append(self))[0])
    assert main(["models", "info", "gld-vggt"]) == 0
    assert made and all(p.is_meta for net in made for p in (*net.parameters(), *net.buffers()))


def test_info_of_mini_agrees_with_its_weights(capsys):
    assert main(["models", "info", "mini", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["parameters"]
    net = GLDPipeline.from_pretrained("mini", device="cpu").generator.net
    assert counts == {name: sum(p.numel() for p in child.parameters()) for name, child in net.named_children()}


def test_offload_needs_the_largest_component_and_its_activations():
    all_, one = (memory.estimate(GLD_DA3, torch.bfloat16, offload=offload, device="cuda") for offload in (False, True))
    assert all_.weights == one.weights and all_.host == 0 and one.host == sum(one.weights.values())
    assert one.peak == one.weights["level1"] + one.activations["level1"]
    assert all_.peak == sum(all_.weights.values()) + max(all_.activations.values())


def test_more_views_and_pixels_need_more():
    peaks = [memory.estimate(GLD_VGGT, size=size, views=views).peak for size, views in memory.REQUESTS]
    assert peaks[0] < peaks[1]
    assert memory.estimate(GLD_VGGT, torch.bfloat16).peak < peaks[0]


MEASURE = """
import sys, torch
from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.benchmarks.memory import resident
from gld_ros.networks.dit import MultiViewDiT
sys.path.insert(0, sys.argv[1])
from builders.models import medium
torch.set_num_threads(1)
config, V, SIZE, grid, dtype = medium(), 3, (280, 504), (20, 36), getattr(torch, sys.argv[2])
with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
    dit = MultiViewDiT(768, 14, config.level1).to(dtype)
    K, c2w = 300 * torch.eye(3).repeat(1, V, 1, 1), torch.eye(4).repeat(1, V, 1, 1)
    cameras = RequestCameras(K, c2w, 2, SIZE, grid, config.compat).condition(dit)
    latent = torch.randn(1, V, 768, *grid)
    before = resident()["VmRSS"]
    open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts anew
    dit(latent, latent, torch.ones(1), cameras.camera_map, cameras.tables, 2).float()
    print(resident()["VmHWM"] - before)
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stage_takes_about_what_is_estimated(dtype):
    """Peak resident memory of one evaluation of level 1, 2+1 views of 504x280, in a process of its own."""
    # Without glibc's settings, under which freed memory would stay resident.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parents[1]), dtype]
    measured = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    estimated = memory.estimate(medium(), getattr(torch, dtype), (280, 504), (2, 1)).activations["level1"]
    assert 0.8 * measured < estimated < 2 * measured, f"measured {measured:,}, estimated {estimated:,}"


def test_what_does_not_fit_is_refused_with_the_estimate(monkeypatch):
    needed = memory.estimate(GLD_DA3, torch.bfloat16)
    monkeypatch.setattr(memory, "available", lambda: needed.peak)
    memory.check_fits(needed, "cpu")
    monkeypatch.setattr(memory, "available", lambda: needed.peak - 1)
    with pytest.raises(OutOfMemory, match=r"needs about 4\.\d GB of main memory \(3\.6 GB of weights"):
        memory.check_fits(needed, "cpu")


def test_a_containers_limit_counts(tmp_path):
    free = memory.available(tmp_path)  # no such files: no limit
    for limit, expected in (("max", free), (10**15, free), (5_000_000, 2_500_000)):
        for name, text in {"max": limit, "current": 3_000_000, "stat": "anon 1\ninactive_file 500000"}.items():
            (tmp_path / f"memory.{name}").write_text(f"{text}\n")
        assert memory.available(tmp_path) == pytest.approx(expected, rel=0.1)


def test_a_gpu_that_is_too_small_is_told_about_offload(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3_000_000_000, 4_000_000_000))
    with pytest.raises(OutOfMemory, match=r'of cuda.*3\.0 GB are free; offload="sequential" needs less'):
        memory.check_fits(memory.estimate(GLD_DA3, torch.bfloat16, device="cuda"), "cuda")
    memory.check_fits(memory.estimate(GLD_DA3, torch.bfloat16, offload=True, device="cuda"), "cuda")
