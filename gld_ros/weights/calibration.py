# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The calibration beside a model's weights."""

from __future__ import annotations

import json
from pathlib import Path

from gld_ros.confidence import Calibration
from gld_ros.errors import ModelError
from gld_ros.files import sha256
from gld_ros.plain import from_dict
from gld_ros.weights.integrity import known_files
from gld_ros.weights.layout import open_folder

#: Beside a model's weights.
FILE = "calibration.json"


def load_calibration(folder: Path) -> Calibration | None:
    """The calibration beside a model's weights; None without one.

    Raises ModelError for a file that is broken or belongs to other weights.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        calibration = from_dict(Calibration, json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a calibration ({error})") from error
    if calibration.weights != weights_of(folder):
        raise ModelError(
            f"{path}: measured with other weights than those in the folder (their sha256 differs): remove it and, to "
            "have one again, run gld calibrate-confidence"
        )
    return calibration


def weights_of(folder: Path) -> dict[str, str]:
    """sha256 of every file of a model folder, as recorded or else computed."""
    known = known_files(folder)
    files = open_folder(folder).files
    recorded = {file: known[file].sha256 if file in known else None for file in files}
    return {file: digest or sha256(folder / file) for file, digest in recorded.items()}
