# Source this (bash) in a shell of your own after `make setup`: `. tools/env.sh`. It gives the venv, ROS and this checkout.
# A child Python re-reads the library path of its own venv only if this guard of the ROS wheels is unset.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
_gld_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$_gld_root/.venv/bin/activate"
if [ -z "$ROS_DISTRO" ]; then
    export AMENT_PREFIX_PATH="$_gld_root/.venv"
fi
. "$_gld_root/install/setup.bash"
# The checkout comes before the install space: edits count without a new build (see gld_ros/__init__.py).
export PYTHONPATH="$_gld_root:$PYTHONPATH"
unset _gld_root
