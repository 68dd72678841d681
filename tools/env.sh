# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
# Source this (bash) after `make setup` for a shell of your own: `. tools/env.sh`. It gives the venv, ROS and this checkout.
_gld_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The ROS wheels' guard against starting twice; inherited, it would keep this venv's libraries from being found.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
if [ -z "$ROS_DISTRO" ]; then
    export AMENT_PREFIX_PATH="$_gld_root/.venv"
fi
. "$_gld_root/install/setup.bash"
. "$_gld_root/.venv/bin/activate"
# The checkout comes before the install space: edits count without a new build (see gld_ros/__init__.py).
export PYTHONPATH="$_gld_root:$PYTHONPATH"
unset _gld_root
