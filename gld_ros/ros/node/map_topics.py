# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of the map: both layers as clouds, and the grid with its updates. Used in the map's thread."""

from __future__ import annotations

import time

from rclpy.node import Node

from gld_ros.ros.node.counters import TopicCounters
from gld_ros.ros.node.map_messages import grid_to_msg, map_to_msg, update_to_msg
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.topics import publisher
from gld_ros.scene.map import occupancy
from gld_ros.scene.map.grid_updates import REFRESH, GridUpdates, Rectangle
from gld_ros.scene.map.voxel_map import LAYERS, VoxelMap


class MapTopics:
    """~/map/observed, ~/map/generated, ~/map/occupancy with ~/map/occupancy_updates: what changed, for who listens."""

    def __init__(self, node: Node, counters: TopicCounters, refresh: float = REFRESH) -> None:
        """refresh: seconds, of `GridUpdates`."""
        self._counters = counters
        self._clouds = {layer: publisher(node, f"~/map/{layer}") for layer in LAYERS}
        self._published = dict.fromkeys(LAYERS, -1)  # versions
        self._occupancy = OccupancyTopic(node, counters, refresh)
        for cloud in self._clouds.values():
            counters.add(cloud.topic_name, "published", 0)
        self.name = self._clouds["observed"].topic_name  # counts what the map as a whole drops

    def publish(self, voxels: VoxelMap, p: Parameters, stamp: int, last: bool = False) -> None:
        """What changed since the last call; stamp: ns. last: latched topics must hold all, as no call may follow.

        Raises InvalidRequest for heights that hold nothing.
        """
        for layer, cloud in self._clouds.items():
            version = voxels.versions[layer]
            if version != self._published[layer] and cloud.get_subscription_count():
                cloud.publish(map_to_msg(voxels.points(layer), layer == "generated", stamp, p.map_frame))
                self._published[layer] = version
                self._counters.add(cloud.topic_name, "published")
        self._occupancy.publish(voxels, p, stamp, last)


class OccupancyTopic:
    """~/map/occupancy and ~/map/occupancy_updates: see `GridUpdates` for which of them, and when.

    Only the grid is latched: a latched update could outlive its grid and be put into the next one, in the wrong place.
    Instead the grid is sent again when somebody joins. Where somebody takes the grid alone, there are no updates.
    """

    def __init__(self, node: Node, counters: TopicCounters, refresh: float) -> None:
        self._counters = counters
        self._whole = publisher(node, "~/map/occupancy")
        self._part = publisher(node, "~/map/occupancy_updates")
        for grid in (self._whole, self._part):
            counters.add(grid.topic_name, "published", 0)
        self._updates = GridUpdates(refresh)
        self._made_of: tuple[object, ...] = ()  # what `_grid` shows: versions and heights
        self._grid: occupancy.OccupancyGrid | None = None
        self._listeners = 0

    def publish(self, voxels: VoxelMap, p: Parameters, stamp: int, whole: bool) -> None:
        """What those who listen lack of the map between the heights of `p`; stamp: ns. whole: no update will do."""
        listeners = self._whole.get_subscription_count()
        joined, self._listeners = listeners > self._listeners, listeners
        if not listeners:
            return
        made_of = (*voxels.versions.values(), p.map_low, p.map_high)
        if self._grid is None or made_of != self._made_of:
            self._grid, self._made_of = voxels.occupancy(p.map_low, p.map_high), made_of
        whole = whole or joined or self._part.get_subscription_count() < listeners
        chosen = self._updates.choose(self._grid, p.map_frame, time.monotonic(), whole)
        if chosen is None:
            return
        if isinstance(chosen, Rectangle):
            self._part.publish(update_to_msg(self._grid, chosen, stamp, p.map_frame))
        else:
            self._whole.publish(grid_to_msg(chosen, stamp, p.map_frame))
        to = self._part if isinstance(chosen, Rectangle) else self._whole
        self._counters.add(to.topic_name, "published")
