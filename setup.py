# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pip install .` (no ROS needed): the library and the `gld` command. All settings are in setup.cfg."""

from setuptools import setup

setup()
