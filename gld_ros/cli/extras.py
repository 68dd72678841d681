# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Libraries that only some commands need. They are extras in setup.cfg."""

from __future__ import annotations

from importlib.util import find_spec

from gld_ros.errors import InvalidRequest

#: Requirements of the extra `train`, by the module that is imported.
TRAINING = {"accelerate": "accelerate>=1.10,<2", "tensorboard": "tensorboard>=2.16,<3"}


def check_training_libraries() -> None:
    """Raise InvalidRequest with the pip line where a library that training needs is not installed."""
    missing = [module for module in TRAINING if find_spec(module) is None]
    if missing:
        packages = " ".join(f"'{TRAINING[module]}'" for module in missing)
        raise InvalidRequest(f"training needs {' and '.join(missing)}: pip install {packages}")
