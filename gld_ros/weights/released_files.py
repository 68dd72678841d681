# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The files of the released models: where they are published, and what is known of their content.

Sizes and sha256: spec gld.md, "Released files" and "Feature space"; VGGT-1B's commit, size, sha256 and licence as
several public projects that pin it record them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Files beside the weights: the description in folders of ours, the record of a download.
CONFIG, RECORD = "config.json", "release.json"
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
    """Files of one Hub repository, and the folder inside the model's that they go to.

    files: empty for all that the repository has and `wanted` says.
    """

    repository: str
    licence: str
    files: tuple[ReleasedFile, ...]
    revision: str = "main"
    folder: str = ""

    @staticmethod
    def wanted(path: str) -> bool:
        """True for a file of a model in a repository whose files are not listed here."""
        return path.endswith((".json", ".safetensors", ".model"))


@dataclass(frozen=True)
class ReleasedModel:
    """A model's Hub files and its latent statistics (paths below `statistics_url`). `gigabytes` of all, roughly.

    A revision that a user asks for is one of the first source; the others stay where they are pinned. prompts: those
    whose states are computed after the download, so that the text encoder is not needed again.
    """

    name: str
    sources: tuple[HubSource, ...]
    statistics: tuple[ReleasedFile, ...]
    gigabytes: float
    statistics_url: str = STATISTICS_URL
    prompts: tuple[str, ...] = ()

    def is_all_of(self, repository: str) -> bool:
        """True if the model is one Hub repository as it is, and this is its name."""
        return len(self.sources) == 1 and not self.sources[0].files and repository == self.sources[0].repository

    @property
    def licences(self) -> str:
        return ", ".join(f"{s.repository} ({s.licence})" for s in self.sources)

    def files(self) -> Iterator[tuple[str, ReleasedFile]]:
        """All files, by their paths in the model's folder."""
        yield from ((file.path, file) for file in self.statistics)
        for source in self.sources:
            yield from ((str(Path(source.folder) / file.path), file) for file in source.files)


def _files(table: str) -> tuple[ReleasedFile, ...]:
    """Files of lines "path size sha256"; "-" where a number is not known."""
    rows = [[None if word == "-" else word for word in line.split()] for line in table.strip().splitlines()]
    return tuple(ReleasedFile(str(path), int(size) if size else None, digest) for path, size, digest in rows)


GLD_DA3_FILES = """
pretrained_models/da3/model.safetensors    -           -
pretrained_models/da3/dpt_decoder.pt       -           -
pretrained_models/mae_decoder.pt           1690296850  0edc8daf55f6895f69433b65e101d154846a3cd93b19810a5f6e722190432c24
checkpoints/da3_level1.pt                  3133462847  557e99e5cc9abc2b4560e40a4f4280ee70ac99010685fb019a5957c897108c9c
checkpoints/da3_cascade.pt                 -           ecf5d36ca29346e44844bdff05b3e6bec233ffdba143b2a700306d4ac67124db
"""
GLD_VGGT_FILES = """
pretrained_models/vggt/mae_decoder.pt      1699734034  -
checkpoints/vggt_level1.pt                 -           -
checkpoints/vggt_cascade.pt                -           -
"""
VGGT_1B_FILES = """
model.safetensors                          5026367224  f164acf60724910d8fe1578bb499d800850c7bb0948db7555c413f9fbe60467e
"""
DA3_STATISTICS = """
model_stats/da3/normalization_stats_level0.pt   20876  84be3bfb8117e331e163b1a1b8509729d787c4601dd37f5fd167f7d40565f454
model_stats/da3/normalization_stats_level1.pt   20876  b158eae33af49ef2d50e441c9eb1816ab765a21a548a0f2c33f636e578872a18
"""
VGGT_STATISTICS = """
model_stats/vggt/normalization_stats_level0.pt  27020  b1d3d6f2e0b00212c671b21adc77317216eb21fc0790600116b54179a68857d1
model_stats/vggt/normalization_stats_level1.pt  27020  08067363ee4939e566dbd628d3418f18050eea0b2cb1d4367da5fd55456212de
model_stats/vggt/special_stats_level0.pt        26902  85c7f46cc5d30c10c7779d46dc53539bf4fd068827cb3b7f987d9a095b1079d3
model_stats/vggt/special_stats_level1.pt        26902  3074af5c07d6e46a57fc9a606f77bc479effb707769146b40fb857ae646d775b
"""
GLD_REPOSITORY, APACHE = "SeonghuJeon/GLD", "Apache-2.0"
VGGT_1B = HubSource(
    "facebook/VGGT-1B",
    "CC BY-NC 4.0: no commercial use",
    _files(VGGT_1B_FILES),
    revision="860abec7937da0a4c03c41d3c269c366e82abdf9",
    folder="pretrained_models/vggt",
)
GLD_DA3 = ReleasedModel(
    "gld-da3", (HubSource(GLD_REPOSITORY, APACHE, _files(GLD_DA3_FILES)),), _files(DA3_STATISTICS), gigabytes=7.6
)
GLD_VGGT = ReleasedModel(
    "gld-vggt",
    (HubSource(GLD_REPOSITORY, APACHE, _files(GLD_VGGT_FILES)), VGGT_1B),
    _files(VGGT_STATISTICS),
    gigabytes=13.2,
)
# Sizes and sha256 are not known to us; they are recorded at the download.
GEN3R = ReleasedModel(
    "gen3r",
    (
        HubSource(
            "JaceyH919/Gen3R", "MIT, Wan 2.1: Apache-2.0; its VGGT and what was trained on it: no commercial use", ()
        ),
    ),
    (),
    gigabytes=20.3,
    prompts=("", "bad detailed"),
)
RELEASED = {model.name: model for model in (GLD_DA3, GLD_VGGT, GEN3R)}
