# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of Gen3R that libraries have: video VAE (diffusers), text encoder and image tower (transformers).

They need the extra `gen3r`. Their parameter names are the libraries'; weights/gen3r_keys.py maps the published ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gld_ros.errors import ModelError
from gld_ros.extras import require
from gld_ros.networks.gen3r.conditions import clip_picture
from gld_ros.networks.gen3r.configs import ImageTowerConfig, TextConfig
from gld_ros.networks.gen3r.latents import Posterior, latent_frames, per_channel, posterior


class VideoVAE(nn.Module):
    """Wan 2.1's video VAE: clips (B, 3, F, H, W) in 0..1 and latents (B, 16, f, H / 8, W / 8). width: its channels at
    full resolution."""

    def __init__(self, width: int = 96):
        super().__init__()
        require("gen3r", "Gen3R's video VAE", ModelError)
        from diffusers import AutoencoderKLWan
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

        net: Any = AutoencoderKLWan(base_dim=width)
        for norm in net.modules():
            if isinstance(norm, WanRMS_norm):  # under autocast float32 comes out, twice as much to keep of each frame
                norm.register_forward_hook(lambda _, inputs, output: output.to(inputs[0]))
        self.net = net
        self.mean, self.std = net.config.latents_mean, net.config.latents_std

    def encode(self, clip: Tensor) -> Posterior:
        """The posterior of normalised latents. Raises InvalidRequest for frames that are not 4 n + 1."""
        latent_frames(clip.shape[2])
        moments = self.net.encode((2 * clip - 1).clamp(-1, 1)).latent_dist.parameters
        return posterior(moments, torch.tensor(self.mean), torch.tensor(self.std))

    def decode(self, latent: Tensor) -> Tensor:
        """The clip of normalised latents (B, 16, f, h, w)."""
        latent = latent * per_channel(self.std, latent) + per_channel(self.mean, latent)
        return (self.net.decode(latent).sample / 2 + 0.5).clamp(0, 1)


class TextEncoder(nn.Module):
    """umt5-xxl: token ids to states."""

    def __init__(self, config: TextConfig):
        super().__init__()
        require("gen3r", "Gen3R's text encoder", ModelError)
        from transformers import UMT5Config, UMT5EncoderModel

        self.net: Any = UMT5EncoderModel(
            UMT5Config(
                vocab_size=config.tokens, d_model=config.width, d_kv=config.width // config.heads, d_ff=config.hidden,
                num_layers=config.layers, num_heads=config.heads, relative_attention_num_buckets=config.buckets,
                relative_attention_max_distance=128, dropout_rate=0.0, layer_norm_epsilon=1e-6,
                feed_forward_proj="gated-gelu",
            )
        )  # fmt: skip

    def forward(self, ids: Tensor) -> Tensor:
        """States (T, width) of the token ids (T,) of one prompt, without padding: padding would be masked, and cut."""
        return self.net(input_ids=ids[None]).last_hidden_state[0]


class ImageTower(nn.Module):
    """CLIP's image tower up to its last block but one."""

    def __init__(self, config: ImageTowerConfig):
        super().__init__()
        require("gen3r", "Gen3R's image tower", ModelError)
        from transformers import CLIPVisionConfig, CLIPVisionModel

        self.size = config.size
        tower = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.width, intermediate_size=config.hidden, num_hidden_layers=config.layers,
                num_attention_heads=config.heads, image_size=config.size, patch_size=config.patch, hidden_act="gelu",
            )
        )  # fmt: skip
        self.net: Any = getattr(tower, "vision_model", tower)  # older versions have one more shell
        # No weight, and so in no file: it has its numbers where the rest is built without memory.
        positions = self.net.embeddings.position_ids.shape[-1]
        self.net.embeddings.position_ids = torch.arange(positions, device="cpu")[None]

    def forward(self, image: Tensor) -> Tensor:
        """Tokens (1, 257, 1280) of an image (3, H, W) in -1..1."""
        picture = clip_picture(image, self.size)
        return self.net(pixel_values=picture, output_hidden_states=True).hidden_states[-2]
