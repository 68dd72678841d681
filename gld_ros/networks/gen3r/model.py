# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All networks of a Gen3R, one component of its folder each."""

from __future__ import annotations

from torch import nn

from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.geometry import GeometryHeads
from gld_ros.networks.gen3r.towers import ImageTower, TextEncoder, VideoVAE
from gld_ros.networks.gen3r.transformer import JointTransformer


class Gen3RNetworks(nn.Module):
    """encoder, heads: VGGT; adapter, vae: latents of geometry and of appearance; text, image: what conditions the
    transformer beside rays and latents. Raises ModelError without the extra `gen3r`."""

    def __init__(self, config: Gen3RConfig):
        super().__init__()
        self.config = config
        self.encoder = GeometryEncoder(config.encoder)
        self.heads = GeometryHeads(config.encoder.channels, config.head)
        self.adapter = GeometryAdapter(config.adapter)
        self.vae = VideoVAE(config.vae_width)
        self.transformer = JointTransformer(config.transformer)
        self.text = TextEncoder(config.text)
        self.image = ImageTower(config.image)
