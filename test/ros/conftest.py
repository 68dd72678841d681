# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
from dds import ros

__all__ = ["ros"]
