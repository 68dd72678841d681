# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which files the released GLDs consist of, where they are published, and what is known of their content.

Sizes and sha256: spec gld.md, "Released files" and "Feature space"; VGGT-1B's commit, size, sha256 and licence as
several public projects that pin it record them.
"""

from __future__ import annotations

from dataclasses import dataclass

STATISTICS_COMMIT = "01ec537b5c4eeaeb2f1281dc0a82075134983481"
STATISTICS_URL = f"https://raw.githubusercontent.com/cvlab-kaist/GLD/{STATISTICS_COMMIT}"


@dataclass(frozen=True)
class ReleasedFile:
    """A published file: path in its repository, bytes and sha256 where they are known."""

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class HubSource:
    """Files of one Hub repository, and the folder inside the model's that they go to."""

    repository: str
    licence: str
    files: tuple[ReleasedFile, ...]
    revision: str = "main"
    folder: str = ""


@dataclass(frozen=True)
class ReleasedModel:
    """A model's Hub files and its latent statistics (paths below `statistics_url`). `gigabytes` of all, roughly.

    A revision that a user asks for is one of the first source; the others stay where they are pinned.
    """

    name: str
    sources: tuple[HubSource, ...]
    statistics: tuple[ReleasedFile, ...]
    gigabytes: float
    statistics_url: str = STATISTICS_URL

    @property
    def licences(self) -> str:
        return ", ".join(f"{s.repository} ({s.licence})" for s in self.sources)


GLD_REPOSITORY, APACHE = "SeonghuJeon/GLD", "Apache-2.0"

GLD_DA3 = ReleasedModel(
    name="gld-da3",
    sources=(
        HubSource(
            GLD_REPOSITORY,
            APACHE,
            (
                ReleasedFile("pretrained_models/da3/model.safetensors"),
                ReleasedFile("pretrained_models/da3/dpt_decoder.pt"),
                ReleasedFile(
                    "pretrained_models/mae_decoder.pt",
                    1_690_296_850,
                    "0edc8daf55f6895f69433b65e101d154846a3cd93b19810a5f6e722190432c24",
                ),
                ReleasedFile(
                    "checkpoints/da3_level1.pt",
                    3_133_462_847,
                    "557e99e5cc9abc2b4560e40a4f4280ee70ac99010685fb019a5957c897108c9c",
                ),
                ReleasedFile(
                    "checkpoints/da3_cascade.pt",
                    None,
                    "ecf5d36ca29346e44844bdff05b3e6bec233ffdba143b2a700306d4ac67124db",
                ),
            ),
        ),
    ),
    statistics=(
        ReleasedFile(
            "model_stats/da3/normalization_stats_level0.pt",
            20_876,
            "84be3bfb8117e331e163b1a1b8509729d787c4601dd37f5fd167f7d40565f454",
        ),
        ReleasedFile(
            "model_stats/da3/normalization_stats_level1.pt",
            20_876,
            "b158eae33af49ef2d50e441c9eb1816ab765a21a548a0f2c33f636e578872a18",
        ),
    ),
    gigabytes=7.6,
)
GLD_VGGT = ReleasedModel(
    name="gld-vggt",
    sources=(
        HubSource(
            GLD_REPOSITORY,
            APACHE,
            (
                ReleasedFile("pretrained_models/vggt/mae_decoder.pt", 1_699_734_034),
                ReleasedFile("checkpoints/vggt_level1.pt"),
                ReleasedFile("checkpoints/vggt_cascade.pt"),
            ),
        ),
        HubSource(
            "facebook/VGGT-1B",
            "CC BY-NC 4.0: no commercial use",
            (
                ReleasedFile(
                    "model.safetensors",
                    5_026_367_224,
                    "f164acf60724910d8fe1578bb499d800850c7bb0948db7555c413f9fbe60467e",
                ),
            ),
            revision="860abec7937da0a4c03c41d3c269c366e82abdf9",
            folder="pretrained_models/vggt",
        ),
    ),
    statistics=(
        ReleasedFile(
            "model_stats/vggt/normalization_stats_level0.pt",
            27_020,
            "b1d3d6f2e0b00212c671b21adc77317216eb21fc0790600116b54179a68857d1",
        ),
        ReleasedFile(
            "model_stats/vggt/normalization_stats_level1.pt",
            27_020,
            "08067363ee4939e566dbd628d3418f18050eea0b2cb1d4367da5fd55456212de",
        ),
        ReleasedFile(
            "model_stats/vggt/special_stats_level0.pt",
            26_902,
            "85c7f46cc5d30c10c7779d46dc53539bf4fd068827cb3b7f987d9a095b1079d3",
        ),
        ReleasedFile(
            "model_stats/vggt/special_stats_level1.pt",
            26_902,
            "3074af5c07d6e46a57fc9a606f77bc479effb707769146b40fb857ae646d775b",
        ),
    ),
    gigabytes=13.2,
)
RELEASED = {model.name: model for model in (GLD_DA3, GLD_VGGT)}
