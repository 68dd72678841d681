# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld reproduce`: latent spaces, equal variants, figures, ratios, and a whole tiny run, interrupted and resumed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gld_ros.cli import main
from gld_ros.data.clips import ClipBatch
from gld_ros.data.room_views import render_scenes
from gld_ros.errors import InvalidRequest
from gld_ros.networks.gld import GLDNetworks
from gld_ros.reproduction import runs, scoring
from gld_ros.reproduction.plans import PLANS
from gld_ros.reproduction.report import convergence, ratio_text, tables, write_report
from gld_ros.reproduction.rooms import StoredRooms, Stream
from gld_ros.reproduction.runs import Reproduction
from gld_ros.reproduction.spaces import VAE, EncodingStage, VAELatents, level_choice
from gld_ros.reproduction.variants import TITLES, VARIANTS, build_stage, needed, parameters
from gld_ros.training.latents import GeometricLatents

PLAN = replace(
    PLANS["smoke"], rooms=8, test_rooms=3, batch=2, representation_steps=2, flow_steps=2, statistics_batches=1,
    device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def batch():
    rooms = render_scenes([11, 12], PLAN.size, PLAN.size)
    return ClipBatch(rooms.images, rooms.K, rooms.c2w, rooms.depth, ["room-11", "room-12"], sources=2)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return GLDNetworks(PLAN.model).eval().requires_grad_(False)


def test_variants_have_equal_parameters(net):
    vae = VAELatents(VAE(PLAN.vae_width, PLAN.encoder.channels))
    spaces = {"geometry": GeometricLatents(net), "pictures": GeometricLatents(net), "vae": vae}
    small = VAELatents(VAE(PLAN.vae_width, PLAN.compressed_channels))
    compressed = parameters(build_stage(PLAN, "compressed", small).dit)
    stages = {n: build_stage(PLAN, n, spaces[v.space]) for n, v in VARIANTS.items() if v.space in spaces}
    assert compressed < parameters(stages["vae"].dit) < 1.2 * compressed, "only the way in and out is smaller"
    assert len({parameters(stage.dit) for stage in stages.values()}) == 1
    assert len({stage.space.shape((32, 32)) for stage in stages.values()}) == 1
    first = [next(stage.dit.blocks.parameters()) for stage in stages.values()]
    assert all(torch.equal(first[0], other) for other in first), "variants start from the same weights"


@pytest.mark.parametrize("level", range(4))
def test_levels_above_follow_from_one_view_exactly(net, batch, level):
    """With a single view the propagated camera token is its own: all upper levels are those of the encoder."""
    space, images = GeometricLatents(net), batch.images[:, :1]
    found, grid = space.features({level: space.encode(images, [level])[level]}, images)
    own = [net.encoder.to_decoder(x) for x in net.encoder(images)]
    for k in range(4):
        if k < level:
            assert not found[k].any()
        else:
            torch.testing.assert_close(found[k], own[k], atol=2e-5, rtol=1e-4)
    assert grid == (4, 4)


def test_every_view_keeps_a_level():
    levels = [torch.ones(64, 4, 3, 2) for _ in range(4)]
    torch.manual_seed(0)
    kept = torch.stack([x[..., 0, 0] for x in level_choice(levels, 2)])
    assert (kept.sum(dim=0) > 0).all()
    patterns = {tuple(p.tolist()) for p in kept.flatten(1).T}
    assert (1, 1, 1, 1) in patterns and (0, 0, 1, 1) in patterns and (1, 0, 0, 0) in patterns
    assert (0, 1, 1, 1) not in patterns


def test_geometry_is_learned_only_where_it_is_asked_for(batch):
    torch.manual_seed(0)
    net = GLDNetworks(PLAN.model)
    assert set(EncodingStage(net, geometry=True).loss(batch)) == {"rgb", "depth", "confidence", "rays"}
    assert set(EncodingStage(net, geometry=False).loss(batch)) == {"rgb"}


def test_vae_latents_are_centred_and_come_back(batch):
    torch.manual_seed(0)
    vae = VAE(16, 24)
    space = VAELatents(vae)
    space.measure(iter([batch.images]), 1, [0])
    latent = space.encode(batch.images, [0])[0]
    assert latent.shape == (2, 4, 24, 4, 4)
    assert latent.mean().abs() < 1e-5 and (latent.std() - 1).abs() < 0.02
    direct = vae.decode(vae.posterior(batch.images.flatten(0, 1))[0]).unflatten(0, (2, 4))
    torch.testing.assert_close(space.decode({0: latent}, batch.images[:, :2]), direct, atol=1e-4, rtol=1e-4)


def test_figures_of_known_pictures(batch):
    found = scoring.picture_figures(batch.images.clone(), batch)
    assert min(found["psnr"]) > 90 and min(found["ssim"]) > 0.999
    grey = batch.images.clone()
    grey[:, 2] = 0.5  # the target between alone
    found = scoring.picture_figures(grey, batch)
    assert max(found["psnr_between"]) < 40 < 90 < min(found["psnr_beyond"])
    assert found["psnr"] == [(a + b) / 2 for a, b in zip(found["psnr_between"], found["psnr_beyond"], strict=True)]
    depth = scoring.depth_figures(3 * batch.depth, batch)  # aligned by the ratio of medians
    assert max(depth["depth_abs_rel"]) < 1e-5 and min(depth["depth_delta1"]) == 1


def test_nearest_sources(batch):
    moved = replace(batch, c2w=batch.c2w.clone())
    moved.c2w[:, 2, :3, 3] = moved.c2w[:, 1, :3, 3] + 0.001
    moved.c2w[:, 3, :3, 3] = moved.c2w[:, 0, :3, 3] + 0.001
    copies = scoring.nearest_sources(moved)
    assert torch.equal(copies[:, 2], batch.images[:, 1]) and torch.equal(copies[:, 3], batch.images[:, 0])


def test_noise_is_the_scenes_own(batch):
    both = scoring.scene_noise(batch, (3, 2, 2))
    swapped = replace(batch, names=batch.names[::-1])
    assert torch.equal(both.flip(0), scoring.scene_noise(swapped, (3, 2, 2))) and not torch.equal(both[0], both[1])


def test_convergence_ratio():
    steps = [100, 200, 400]
    slow = np.array([[10, 12.0], [12, 14], [14, 16]])  # ends at 15
    fast = np.array([[14, 15.0], [15.5, 15.5], [20, 20]])  # 14.5, 15.5: 15 after 150 steps
    found = convergence(steps, fast, slow)
    assert found.ratio == pytest.approx(400 / 150) and not found.at_least and found.reached == 1
    assert found.low <= found.ratio <= found.high
    never = convergence(steps, slow - 5, slow)
    assert never.ratio is None and never.reached == 0 and "not reached" in ratio_text(never)
    early = convergence(steps, fast + 9, slow)
    assert early.ratio == 4 and early.at_least and "at least 4.00" in ratio_text(early)


def test_what_experiments_need():
    assert needed(["a"])[0] == ["geometry", "pictures", "vae", "compressed"]
    representations, variants, systems = needed(["c"])
    assert representations == ["geometry"] and variants == ["level1", "cascade", "level0"]
    assert systems == ["level1", "cascade", "independent"]
    assert set(needed(list("abc"))[1]) == set(VARIANTS)
    with pytest.raises(InvalidRequest, match="f: expected some of a, b, c"):
        needed(["a", "f"])


def test_stream_is_shuffled_by_epoch_and_resumable(tmp_path):
    rooms = StoredRooms(tmp_path, 40, 6, 16)
    names = [batch.names for batch, _ in zip(Stream(rooms, 2, 0).batches(0), range(6), strict=False)]
    first, second = sum(names[:3], []), sum(names[3:], [])
    assert sorted(first) == sorted(second) == [f"room-{k}" for k in range(40, 46)] and first != second
    assert next(Stream(rooms, 2, 0).batches(4)).names == names[4]
    again = StoredRooms(tmp_path, 40, 6, 16)
    assert torch.equal(again.arrays["images"], rooms.arrays["images"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, Reproduction(PLAN, folder, ["a", "c"]).run()


def test_interrupted_run_goes_on(whole, tmp_path, monkeypatch):
    """Stopped while the second milestone is scored: the finished parts are kept, the figures are the same."""
    calls = []

    def failing(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return generate(*args)

    generate = scoring.generate
    monkeypatch.setattr(runs.scoring, "generate", failing)
    with pytest.raises(KeyboardInterrupt):
        Reproduction(PLAN, tmp_path, ["a", "c"]).run()
    monkeypatch.setattr(runs.scoring, "generate", generate)
    kept = json.loads((tmp_path / "variants" / "level1" / "curve.json").read_text())
    assert kept["steps"] == [1]
    resumed = Reproduction(PLAN, tmp_path, ["a", "c"])
    assert resumed.run() == whole[1]


def test_report(whole):
    folder, results = whole
    shown = write_report(folder, PLAN, results, ["a", "c"], "gld reproduce ...")
    report = json.loads((folder / "report.json").read_text())
    row = report["tables"]["a"]["rows"]["VAE latent"]
    assert [c["mean"] for c in row] == pytest.approx(np.mean(results["curves"]["vae"]["psnr"], axis=1))
    difference = report["tables"]["a"]["rows"]["GLD minus VAE latent"]
    gld = report["tables"]["a"]["rows"]["GLD, level 1 alone"]
    assert difference[-1]["mean"] == pytest.approx(gld[-1]["mean"] - row[-1]["mean"])
    assert row[0]["low"] <= row[0]["mean"] <= row[0]["high"] and row[0]["count"] == 3
    assert "GLD to the final PSNR of the VAE latent" in report["ratios"]
    assert report["plan"]["flow_steps"] == 2 and report["hardware"]["cores"] >= 1 and report["revision"]
    assert "(cascade) minus GLD, level 1 alone" in shown and ("not reached" in shown or "fewer steps" in shown)
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 1 and "DINO-like" in html
    assert (folder / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_folder_of_another_plan_is_refused(whole):
    with pytest.raises(InvalidRequest, match="flow_steps"):
        Reproduction(replace(PLAN, flow_steps=9), whole[0], ["a"])


def test_tables_of_made_up_figures():
    """Differences are paired by scene; values that are not finite are left out."""
    names = ("psnr", "psnr_between", "psnr_beyond", "ssim", "depth_abs_rel", "depth_delta1")
    values = {name: [1.0, 2.0, float("nan")] for name in names}
    systems = {name: dict(values) for name in ("level0", "level1", "level2", "level3", "cascade", "independent")}
    systems["cascade"]["psnr"] = [2.0, 3.5, 4.0]
    systems["independent"]["psnr"] = [1.0, 2.0, 3.0]
    boundary, cascade = tables({"systems": systems}, ["b", "c"])
    difference = f"{TITLES['cascade']} minus {TITLES['independent']}"
    assert cascade.rows[difference][0]["mean"] == pytest.approx((1 + 1.5 + 1) / 3)
    assert boundary.rows["k = 1"][0]["count"] == 2 and boundary.rows["k = 1 minus k = 0"][0]["mean"] == 0


def test_command_names_what_is_wrong(tmp_path, capsys):
    assert main(["reproduce", "--budget", "smoke", "--out", str(tmp_path), "--only", "x"]) == 1
    assert "experiments x" in capsys.readouterr().err
    assert main(["reproduce", "--budget", "smoke", "--out", str(tmp_path), "--flow-steps", "0"]) == 1
    assert "--flow-steps is 0" in capsys.readouterr().err


def test_asked_to_stop(tmp_path, monkeypatch, capsys):
    """SIGTERM in a training: the engine saves and says that it has not finished; the command says how to go on."""
    monkeypatch.setattr(runs.Engine, "fit", lambda self, data: False)
    plan = replace(PLAN, rooms=2, test_rooms=1)
    monkeypatch.setitem(PLANS, "smoke", plan)
    assert main(["reproduce", "--budget", "smoke", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "the same command goes on" in capsys.readouterr().out
