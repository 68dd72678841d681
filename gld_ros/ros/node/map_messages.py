# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map as messages: PointCloud2 of a layer, OccupancyGrid, OccupancyGridUpdate."""

from __future__ import annotations

import array

import nav_msgs.msg
import numpy as np
from map_msgs.msg import OccupancyGridUpdate
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from gld_ros.ros.conversions import ns_to_stamp
from gld_ros.ros.node.view_messages import CLOUD_FIELDS
from gld_ros.scene.map.grid_updates import Rectangle, patched
from gld_ros.scene.map.occupancy import OccupancyGrid
from gld_ros.scene.map.voxels import MapPoints

MAP_FIELDS = [*CLOUD_FIELDS, PointField(name="stamp", offset=24, datatype=PointField.FLOAT64, count=1)]


def map_to_msg(points: MapPoints, generated: bool, stamp: int, map_frame: str) -> PointCloud2:
    """One layer in the map frame; stamp: ns.

    Fields: those of `view_messages.cloud_to_msg`, and stamp: float64, seconds, of the newest image behind the point.
    """
    cloud = np.empty(len(points.xyz), point_cloud2.dtype_from_fields(MAP_FIELDS))
    cloud["x"], cloud["y"], cloud["z"] = points.xyz.T
    red, green, blue = points.rgb.astype(np.uint32).T
    cloud["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    cloud["confidence"] = points.confidence
    cloud["generated"] = 255 if generated else 0
    cloud["stamp"] = points.stamp * 1e-9
    msg = point_cloud2.create_cloud(Header(stamp=ns_to_stamp(stamp), frame_id=map_frame), MAP_FIELDS, cloud)
    msg.is_dense = True
    return msg


def grid_to_msg(grid: OccupancyGrid, stamp: int, map_frame: str) -> nav_msgs.msg.OccupancyGrid:
    """-1 unknown, 0 observed free, 1 to 99 generated, 100 observed occupied; stamp: ns."""
    msg = nav_msgs.msg.OccupancyGrid(header=Header(stamp=ns_to_stamp(stamp), frame_id=map_frame))
    msg.info.map_load_time = msg.header.stamp
    msg.info.resolution = grid.resolution
    msg.info.height, msg.info.width = grid.data.shape
    msg.info.origin.position.x, msg.info.origin.position.y = (float(value) for value in grid.origin)
    msg.info.origin.orientation.w = 1.0
    msg.data = array.array("b", grid.data.tobytes())
    return msg


def update_to_msg(grid: OccupancyGrid, changed: Rectangle, stamp: int, map_frame: str) -> OccupancyGridUpdate:
    """The cells of `changed` as they are in `grid`, for those who have a grid of the same extent; stamp: ns."""
    msg = OccupancyGridUpdate(header=Header(stamp=ns_to_stamp(stamp), frame_id=map_frame))
    msg.x, msg.y, msg.width, msg.height = changed.x, changed.y, changed.width, changed.height
    msg.data = array.array("b", changed.of(grid.data).tobytes())
    return msg


def grid_from_msg(msg: nav_msgs.msg.OccupancyGrid) -> OccupancyGrid:
    """Its cells; the orientation of its origin is taken to be none. Raises ValueError for another number of cells."""
    origin = np.array([msg.info.origin.position.x, msg.info.origin.position.y])
    data = np.array(msg.data, np.int8).reshape(msg.info.height, msg.info.width)
    return OccupancyGrid(origin, msg.info.resolution, data)


def patch_grid(grid: OccupancyGrid, msg: OccupancyGridUpdate) -> OccupancyGrid:
    """`grid` with the update's cells. Raises InvalidRequest where these do not fit into it."""
    return patched(grid, Rectangle(msg.x, msg.y, msg.width, msg.height), np.array(msg.data, np.int8))
