#!/bin/bash
# The container's environment, then its command (by default gld.launch.py).
set -e
. /opt/ros/jazzy/setup.bash
. /opt/gld_ros/setup.bash
exec "$@"
