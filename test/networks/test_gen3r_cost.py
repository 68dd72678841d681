# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The cost of an evaluation of Gen3R's transformer: as torch counts it as it runs; of the released one by hand."""

import pytest
import torch
from builders.gen3r_folder import TINY
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.transformer import JointTransformer, evaluation_flops


def test_an_evaluation_is_counted_as_it_runs():
    config, frames, size = TINY.transformer, 5, (64, 96)
    net = JointTransformer(config).eval()
    x, condition = torch.randn(1, config.latent, 2, 8, 24), torch.randn(1, config.condition, 2, 8, 24)
    context = net.context_of([torch.randn(3, config.text_width)] * 2, torch.randn(1, 257, config.image_width))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        net(x, condition, torch.tensor([500.0]), context, None)
    assert evaluation_flops(config, frames, size) == counter.get_total_flops()


def test_the_released_transformer_takes_271_tflop():
    config, tokens, others = Gen3RConfig().transformer, 13 * 35 * 70, 512 + 257
    width, hidden = config.width, config.hidden
    attention = 4 * tokens * (tokens + others) * width
    products = 2 * width * (tokens * (6 * width + 2 * hidden) + 2 * others * width)
    found = evaluation_flops(config, 49, (560, 560), texts=1)
    assert found == pytest.approx(config.layers * (attention + products), rel=0.001) == pytest.approx(271e12, rel=0.005)
