# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latents on disk, and the diffusion stages that train on them."""

from dataclasses import replace

import pytest
import torch

from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training import checkpoint
from gld_ros.training.decoder_stage import DecoderStage
from gld_ros.training.latent_cache import CachedLatents, LatentBatch, SceneEncoder, ShardPlan, shard_path
from gld_ros.training.mini import MiniTraining, train_mini
from gld_ros.training.warped_flow import FIELDS, WarpedFlowOptions, WarpedFlowStage, compile_blocks
from gld_ros.weights.tensor_files import read_tensors, write_tensors

PLAN = ShardPlan(shards=2, first_seed=40, scenes=3, painted=2)


@pytest.fixture(scope="module")
def net() -> GLDNetworks:
    torch.manual_seed(0)
    return GLDNetworks(ModelConfig()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    """Two shards of three scenes, the first with pictures."""
    made = tmp_path_factory.mktemp("cache")
    encoder = SceneEncoder(net, torch.device("cpu"), compiled=False)
    for number in range(PLAN.shards):
        write_tensors(shard_path(made, number), encoder(PLAN, number))
    return made


def test_a_shard_holds_what_its_number_says(folder):
    for number in range(PLAN.shards):
        held = read_tensors(shard_path(folder, number))
        (S, N), (W, H) = PLAN.views(number), PLAN.size(number)
        assert held["level1"].shape == held["level0"].shape == (3, S + N, 256, H // 8, W // 8)
        assert held["sources1"].shape[1] == S and held["warps1"].shape[1] == N and held["seen"].shape == (3, N, H, W)
        assert ("images" in held) == (number == 0)
        assert 0.1 < held["seen"].float().mean() < 0.95
    images, depth = (read_tensors(shard_path(folder, 0))[name] for name in ("images", "depth"))
    assert images.shape[-2:] == (144, 192) and depth.shape[-2:] == (72, 96) and (depth > 0).all()


def test_an_epoch_goes_through_every_scene_once_and_the_next_in_another_order(folder):
    data = CachedLatents(folder, 1, ("level1", "sources1", "warps1", "K"))
    assert data.length == 6

    def order(epoch: int) -> list[float]:
        return [float(data.read(epoch * 6 + i).K.sum()) for i in range(6)]

    first, second = order(0), order(1)
    assert sorted(first) == sorted(second) and len(set(first)) == 6 and first != second
    assert first == order(0)
    stream = CachedLatents(folder, 1, ("level1", "sources1", "warps1", "K")).batches(2)
    assert float(next(stream).K.sum()) == first[2]


def test_shards_without_the_fields_are_left_out(folder, tmp_path):
    assert CachedLatents(folder, 3, DecoderStage.fields).length == 1
    with pytest.raises(InvalidRequest, match="no shard with level1 and at least 1 scenes"):
        CachedLatents(tmp_path, 1, ("level1",))


@pytest.mark.parametrize("level", [1, 0])
def test_a_stage_learns_what_no_source_saw(net, folder, level):
    torch.manual_seed(1)
    batch = CachedLatents(folder, 3, FIELDS[level]).read(0).to("cpu")
    options = WarpedFlowOptions(one_target=0, two_targets=0, warp_dropout=0)
    stage = WarpedFlowStage(net, level, options)
    stage.dit.requires_grad_(True)
    losses = stage.loss(batch)
    losses["flow"].backward()
    assert stage.dit.final_layer.linear.weight.grad.abs().max() > 0
    # Predictions start at zero: latents are normalised, so that the error is about one everywhere.
    assert 0.3 < losses["_unseen"] < 3 and 0.3 < losses["_seen"] < 3
    torch.manual_seed(1)
    swapped = WarpedFlowStage(net, level, options).loss(replace(batch, seen=~batch.seen))
    assert torch.allclose(swapped["_seen"], losses["_unseen"], rtol=0.2)


def test_tokens_that_the_sources_show_count_as_little_as_asked(net, folder):
    batch = CachedLatents(folder, 3, FIELDS[1]).read(0).to("cpu")
    shown = replace(batch, level1=batch.level1.clone())
    shown.level1[:, : batch.sources1.shape[1]] *= 3  # the sources' views, all of which are shown

    def flow(batch: LatentBatch, seen_weight: float) -> float:
        torch.manual_seed(1)
        options = WarpedFlowOptions(seen_weight=seen_weight, one_target=0, two_targets=0, warp_dropout=0)
        return float(WarpedFlowStage(net, 1, options).loss(batch)["flow"].detach())

    # An untrained stage predicts zero, so that its error is the size of the data.
    assert flow(shown, 0) == pytest.approx(flow(batch, 0), rel=1e-5)
    assert flow(shown, 1) > 1.5 * flow(batch, 1)


def test_level_0_is_told_a_noised_level_1(net, folder):
    batch = CachedLatents(folder, 3, FIELDS[0]).read(0).to("cpu")
    stage = WarpedFlowStage(net, 0)
    data, given = stage.truth(batch, 3)
    assert torch.equal(data, batch.level0[:, :3]) and given.shape == data.shape
    assert 0 < (given - batch.level1[:, :3]).abs().mean() < 0.4
    assert stage.truth(batch, 3)[1] is not None and WarpedFlowStage(net, 1).truth(batch, 3)[1] is None
    times = stage.times(4000)
    assert times.max() == 1 and 0.12 < (times == 1).float().mean() < 0.18 and times.median() > 0.6


def test_compiled_blocks_have_the_loss_and_the_gradients_of_those_as_written(net, folder):
    one = replace(net.config.level1, depth=1, head_depth=0)  # compiling takes a while
    small = GLDNetworks(replace(net.config, level1=one))
    batch = CachedLatents(folder, 3, FIELDS[1]).read(0).to("cpu")
    for parameter in small.level1.parameters():  # the last layer begins at zero
        torch.nn.init.normal_(parameter, std=0.05)
    results = []
    for compiled in (False, True):
        if compiled:
            compile_blocks(small.level1)
        small.zero_grad()
        torch.manual_seed(1)
        loss = WarpedFlowStage(small, 1).loss(batch)["flow"]
        loss.backward()
        assert all((block._compiled_call_impl is not None) == compiled for block in small.level1.blocks)
        results.append([loss.detach(), *(p.grad.clone() for p in small.level1.parameters() if p.requires_grad)])
    for written, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, written, rtol=1e-3, atol=1e-4 * float(written.abs().max()))


def test_diffusion_stages_of_mini_train_with_muon(net, folder, tmp_path):
    plan = MiniTraining(
        stages=("level1",), start="a sha256", level1_steps=1, flow_batch=3, device="cpu", compiled=False
    )
    (tmp_path / "cache").symlink_to(folder)
    assert train_mini(tmp_path, tmp_path / "model", net, plan)
    kinds = {name: plan.run(name, net.config).optimizer.kind for name in ("depth", "level0")}
    held = checkpoint.read(checkpoint.latest(tmp_path / "level1"))[0]
    assert kinds == {"depth": "adamw", "level0": "muon"}
    assert any(key.startswith("muon/momentum_buffer/dit.blocks.") for key in held)
    # `net` is shared, and one step of training is no harm: but it was asked for gradients.
    net.eval().requires_grad_(False)


def test_some_scenes_have_no_warped_sources(net, folder):
    """The unconditional branch of guidance is trained, too, in level 1 alone."""
    batch = CachedLatents(folder, 3, FIELDS[1]).read(0).to("cpu")
    S, N = batch.sources1.shape[1], batch.warps1.shape[1]
    kept, dropped = (WarpedFlowStage(net, 1, WarpedFlowOptions(warp_dropout=x)).condition(batch, N) for x in (0, 1))
    assert torch.equal(kept[:, S:], batch.warps1) and not dropped[:, S:].any()
    assert torch.equal(kept[:, :S], batch.sources1) and torch.equal(dropped[:, :S], batch.sources1)
    batch0 = CachedLatents(folder, 3, FIELDS[0]).read(0).to("cpu")
    level0 = WarpedFlowStage(net, 0, WarpedFlowOptions(warp_dropout=1)).condition(batch0, N)
    assert torch.equal(level0[:, S:], batch0.warps0)
