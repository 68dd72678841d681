#!/bin/bash
# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
# The container's environment, then its command (by default gld.launch.py).
set -e
. /opt/ros/jazzy/setup.bash
. /opt/gld_ros/setup.bash
exec "$@"
