# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of the geometry adapter, and the alignment of its evaluation (fixture gen3r j)."""

import numpy as np
import torch
from golden.recipe import input_for
from oracle import given

from gld_ros.geometry.alignment import umeyama
from gld_ros.networks.gen3r.latents import Posterior
from gld_ros.training.gen3r_losses import alignment_weight, camera_loss, distance_loss, divergence

BOUND, ALIGNMENT_BOUND = 1e-6, 1e-5
FIXTURE = "gen3r_training"


def test_divergence(fixture, compare):
    seed, shape = fixture.meta["config"]["seed"], (2, 16, 2, 5, 6)
    found, other = (Posterior(given(f"m{k}", shape, seed), 0.3 * given(f"v{k}", shape, seed)) for k in (1, 2))
    compare(fixture, "kl", divergence(found, other), BOUND)
    compare(fixture, "kl_mean", divergence(found, other).mean(), BOUND)
    compare(fixture, "kl_standard", divergence(found), BOUND)


def test_alignment_weight(fixture, compare):
    weights = [alignment_weight(*pair) for pair in ((0.5, 300), (2, 1), (0.03, 0.5), (1, 9.99))]
    compare(fixture, "adaptive_weight", torch.tensor(weights), BOUND)


def test_losses_of_the_heads(fixture, compare):
    seed = fixture.meta["config"]["seed"]
    encodings, truth = (
        torch.stack([given(f"pose_{name}{i}", (1, 3, 9), seed) for i in range(4)]) for name in ("pred", "gt")
    )
    compare(fixture, "camera_loss", camera_loss(encodings, truth), BOUND)
    for name, shape in (("depth", (1, 3, 8, 9, 1)), ("point", (1, 3, 8, 9, 3))):
        pair = (given(f"{name[0]}{k}", shape, seed) for k in (1, 2))
        compare(fixture, f"{name}_loss", distance_loss(*pair), BOUND)


def test_alignment(fixture, compare):
    seed = fixture.meta["config"]["seed"]
    cloud = input_for("cloud", (2, 5, 6, 3), seed).reshape(-1, 3).astype(np.float64)
    rotation = np.linalg.qr(input_for("R", (3, 3), seed))[0]
    jitter = input_for("jitter", (2, 5, 6, 3), seed).reshape(-1, 3)
    goal = 1.7 * cloud @ rotation.T + input_for("t", (3,), seed) + 0.02 * jitter
    found = umeyama(cloud, goal, same_spread=True)
    compare(fixture, "umeyama_R", torch.from_numpy(found.rotation), ALIGNMENT_BOUND)
    compare(fixture, "umeyama_t", torch.from_numpy(found.translation), ALIGNMENT_BOUND)
    compare(fixture, "umeyama_s", torch.tensor(found.scale), ALIGNMENT_BOUND)
    aligned = torch.from_numpy(found.points(cloud)).reshape(2, 5, 6, 3)
    compare(fixture, "umeyama_aligned", aligned, ALIGNMENT_BOUND)
    assert umeyama(cloud, goal).scale < found.scale
