# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The RGB decoder and the latent normalisation against the official code (fixture h), and against transformers."""

import pytest
import torch
from oracle import given, recipe, watched

from gld_ros.networks.configs import RGBDecoderConfig
from gld_ros.networks.encoder import IMAGE_MEAN, IMAGE_STD, Level, map_to_tokens
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.released import GLD_DA3
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.weights.folder import KeyNames

BOUND = 2e-5
FIXTURE = "rgb_decoder"


@pytest.fixture
def decoder(fixture):
    """The fixture's small decoder with its weights."""
    config = fixture.meta["config"]
    ours = RGBDecoderConfig(
        width=config["decoder_hidden_size"],
        depth=config["decoder_num_hidden_layers"],
        heads=config["decoder_num_attention_heads"],
        hidden=config["decoder_intermediate_size"],
        base_grid=config["base_image_size"][0] // config["patch_size"],
        eps=config["layer_norm_eps"],
    )
    return recipe(RGBDecoder(config["hidden_size"] // 4, config["patch_size"], ours), KeyNames("decoder."))


def test_positions(fixture, compare, decoder):
    compare(fixture, "base_pos_embed_every37th", decoder.decoder_pos_embed[:, ::37], BOUND)
    compare(fixture, "a.pos_embed", decoder.positions(tuple(fixture.meta["grid"])), BOUND)
    wide = decoder.positions(tuple(fixture.meta["pos_grid_b"]))
    compare(fixture, "b.pos_embed", wide[:, :: fixture.meta["pos_b_stride"]], BOUND)


def test_decoder(fixture, compare, decoder):
    """Every state from the tokens to the image, on a grid that is neither square nor the table's."""
    layers = {f"layer{i}_in": layer for i, layer in enumerate(decoder.decoder_layers)}
    levels = list(fixture["hidden_states"][None].chunk(4, dim=-1))
    with watched({**layers, "logits": decoder.decoder_pred}) as calls:
        rgb = decoder(levels, tuple(fixture.meta["grid"]))[0]
    for name in layers:
        compare(fixture, name, calls[name][0].args[0][:, ::3], BOUND)
    compare(fixture, "last_layer_out", calls[name][0].result[:, ::3], BOUND)
    compare(fixture, "logits", calls["logits"][0].result[:, 1:], BOUND)
    compare(fixture, "rgb", rgb[:1], BOUND)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
    compare(fixture, "image_imagenet_space", (rgb[:1] - mean) / std, BOUND)


@pytest.mark.parametrize("k", [0, 1])
def test_latent_normalisation(fixture, compare, statistics, k):
    seed, scale, every = (fixture.meta[name] for name in ("seed", "raw_scale", "channel_stride"))
    with torch.device("meta"):
        net = GLDNetworks(GLD_DA3)
    for name in ("mean", "var"):
        setattr(net, f"level{k}_{name}", statistics[f"da3.level{k}.{name}"])
    raw = scale * given("raw", (2, 1536, 2, 3), seed)
    latent = net.to_latent(Level(map_to_tokens(raw[None]), (2, 3)), k)[0]
    compare(fixture, f"norm_level{k}", latent[:, ::every], BOUND)
    # A class token is normalised like a patch.
    token = scale * given("raw_cls", (2, 1536), seed)
    compare(fixture, f"norm_cls_level{k}", net.to_latent(Level(token[None, :, None], (1, 1)), k)[0, ..., 0, 0], BOUND)
    level = net.to_level(raw[None], (2, 3), k)
    compare(fixture, f"denorm_level{k}", level.patches[0, :, ::every], BOUND)


@pytest.mark.parametrize(
    ("grid", "base", "width", "heads", "depth", "patch"),
    [((6, 6), 6, 32, 4, 2, 4), ((3, 7), 5, 64, 2, 3, 2), ((8, 4), 4, 48, 6, 1, 14), ((5, 5), 9, 32, 1, 2, 8)],
)
def test_transformers_agrees(compare, grid, base, width, heads, depth, patch):
    """Random weights in ViTMAE. It has no tables of other shapes: away from its own grid it gets our positions."""
    vit_mae = pytest.importorskip("transformers.models.vit_mae.modeling_vit_mae")
    torch.manual_seed(width + depth)
    ours = RGBDecoder(5, patch, RGBDecoderConfig(width, depth, heads, 3 * width, base)).eval().requires_grad_(False)
    for name, parameter in ours.named_parameters():
        if name != "decoder_pos_embed":
            parameter.copy_(torch.randn_like(parameter) / max(parameter.shape[-1], 4) ** 0.5)
    theirs = vit_mae.ViTMAEForPreTraining(
        vit_mae.ViTMAEConfig(
            image_size=base * patch,
            patch_size=patch,
            hidden_size=20,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            decoder_hidden_size=width,
            decoder_num_hidden_layers=depth,
            decoder_num_attention_heads=heads,
            decoder_intermediate_size=3 * width,
            layer_norm_eps=1e-12,
        )
    ).eval()
    theirs.requires_grad_(False)
    theirs.decoder.initialize_weights(base**2)
    assert torch.allclose(ours.decoder_pos_embed, theirs.decoder.decoder_pos_embed, atol=1e-6)
    # Their class token enters as the first input token, so ours is set to what theirs becomes.
    first, levels = torch.randn(20), [torch.randn(1, 2, grid[0] * grid[1], 5) for _ in range(4)]
    ours.trainable_cls_token.copy_(ours.decoder_embed(first))
    state = {in_transformers(k): v for k, v in ours.state_dict().items() if k != "trainable_cls_token"}
    state["decoder_pos_embed"] = ours.positions(grid)
    theirs.decoder.decoder_pos_embed = torch.nn.Parameter(state["decoder_pos_embed"], requires_grad=False)
    assert theirs.decoder.load_state_dict(state, strict=False) == (["mask_token"], [])
    tokens = torch.cat([first.expand(2, 1, 20), torch.cat(levels, dim=-1)[0]], dim=1)
    logits = theirs.decoder(tokens, torch.arange(grid[0] * grid[1]).expand(2, -1)).logits
    image = theirs.unpatchify(logits, (grid[0] * patch, grid[1] * patch))
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
    rgb = ours(levels, grid)[0]
    assert (rgb - (image * std + mean)).abs().max() <= 1e-5 * rgb.abs().max()


def in_transformers(key: str) -> str:
    """Our (and the published) key as transformers 5 names it."""
    names = {
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    for published, theirs in names.items():
        key = key.replace(published, theirs)
    return key
