# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of the map: both layers as clouds, and the grid with its updates. Used in the map's thread."""

from __future__ import annotations

import array
import time

import nav_msgs.msg
import numpy as np
from map_msgs.msg import OccupancyGridUpdate
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from gld_ros.ros.conversions import ns_to_stamp
from gld_ros.ros.node.counters import CountedPublisher, TopicCounters
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.view_messages import CLOUD_FIELDS
from gld_ros.scene.map.grid_updates import REFRESH, GridUpdates, Rectangle, patched
from gld_ros.scene.map.occupancy import OccupancyGrid
from gld_ros.scene.map.voxel_map import LAYERS, VoxelMap
from gld_ros.scene.map.voxels import MapPoints

MAP_FIELDS = [*CLOUD_FIELDS, PointField(name="stamp", offset=24, datatype=PointField.FLOAT64, count=1)]


class MapTopics:
    """~/map/observed, ~/map/generated, ~/map/occupancy with ~/map/occupancy_updates: what changed, for who listens."""

    def __init__(self, node: Node, counters: TopicCounters, refresh: float = REFRESH) -> None:
        """refresh: seconds, of `GridUpdates`."""
        self._clouds = {layer: CountedPublisher(node, counters, f"~/map/{layer}") for layer in LAYERS}
        self._published = dict.fromkeys(LAYERS, -1)  # versions
        self._occupancy = OccupancyTopic(node, counters, refresh)
        self.name = self._clouds["observed"].topic  # counts what the map as a whole drops

    def publish(self, voxels: VoxelMap, p: Parameters, stamp: int, last: bool = False) -> None:
        """Publish what changed since the last call; stamp: ns. last: latched topics get all, as no call may follow.

        Raises InvalidRequest for heights that hold nothing.
        """
        for layer, cloud in self._clouds.items():
            version = voxels.versions[layer]
            if version != self._published[layer] and cloud.listeners:
                cloud.publish(map_to_msg(voxels.points(layer), layer == "generated", stamp, p.map_frame))
                self._published[layer] = version
        self._occupancy.publish(voxels, p, stamp, last)


class OccupancyTopic:
    """~/map/occupancy and ~/map/occupancy_updates: see `GridUpdates` for which of them, and when.

    Only the grid is latched: a latched update could outlive its grid and be put into the next one, in the wrong place.
    Instead the grid is sent again when somebody joins. Where somebody takes the grid alone, there are no updates.
    """

    def __init__(self, node: Node, counters: TopicCounters, refresh: float) -> None:
        self._whole = CountedPublisher(node, counters, "~/map/occupancy")
        self._part = CountedPublisher(node, counters, "~/map/occupancy_updates")
        self._updates = GridUpdates(refresh)
        self._made_of: tuple[object, ...] = ()  # what `_grid` shows: versions and heights
        self._grid: OccupancyGrid | None = None
        self._listeners = 0

    def publish(self, voxels: VoxelMap, p: Parameters, stamp: int, whole: bool) -> None:
        """Publish what subscribers lack of the map between the heights of `p`; stamp: ns. whole: no update will do."""
        listeners = self._whole.listeners
        joined, self._listeners = listeners > self._listeners, listeners
        if not listeners:
            return
        made_of = (*voxels.versions.values(), p.map_low, p.map_high)
        if self._grid is None or made_of != self._made_of:
            self._grid, self._made_of = voxels.occupancy(p.map_low, p.map_high), made_of
        whole = whole or joined or self._part.listeners < listeners
        chosen = self._updates.choose(self._grid, p.map_frame, time.monotonic(), whole)
        if isinstance(chosen, Rectangle):
            self._part.publish(update_to_msg(self._grid, chosen, stamp, p.map_frame))
        elif chosen is not None:
            self._whole.publish(grid_to_msg(chosen, stamp, p.map_frame))


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
