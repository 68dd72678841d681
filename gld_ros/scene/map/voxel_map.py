# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map with two layers and the rules between them.

Of a voxel: generated data never changes what was observed and never clears anything; an observation, occupied or free,
removes what was generated there. Generated points fade with age. Both layers end at a radius around the robot and at a
number of voxels.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from gld_ros.errors import FileError, InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.scene.map import map_files
from gld_ros.scene.map.agreement import Agreement
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.generated import GeneratedLayer
from gld_ros.scene.map.observed import HashLayer, ObservedLayer
from gld_ros.scene.map.occupancy import OccupancyGrid, nothing_known, occupancy_grid
from gld_ros.scene.map.visibility import check_pictures, observation, surface, usable_pixels
from gld_ros.scene.map.voxels import MapPoints, VoxelGrid
from gld_ros.views import View

LAYERS = ("observed", "generated")


class VoxelMap:
    """Accumulates pictures and views. Not thread-safe: one thread owns it.

    counts: what was done so far: `observed` and `generated` (pictures taken), `replaced` (generated points where
    something was observed), `evicted` (voxels over `max_voxels`), `expired` (points that faded or left the radius).
    """

    def __init__(self, config: MapConfig | None = None) -> None:
        """Raises InvalidRequest where the backend open3d is asked for and cannot be imported."""
        self.config = config or MapConfig()
        self.counts: Counter[str] = Counter()
        self.versions = dict.fromkeys(LAYERS, 0)  # go up with each change of a layer
        self._layers: tuple[ObservedLayer, GeneratedLayer] | None = None
        self._agreement = Agreement()
        self._now = 0
        self._backend: type[ObservedLayer] = HashLayer
        if self.config.backend == "open3d":
            from gld_ros.scene.map.tsdf import TsdfLayer, import_open3d

            import_open3d()
            self._backend = TsdfLayer

    def integrate_observed(
        self,
        depth: np.ndarray,
        image: np.ndarray,
        confidence: np.ndarray,
        camera: Camera,
        stamp: int = 0,
        carve: bool = True,
        measured: np.ndarray | None = None,
    ) -> None:
        """A picture taken by a camera, of its size: depth (H, W) metres along z, NaN unknown; image (H, W, 3) uint8.

        confidence: (H, W), 0..1; see `MapConfig` for what it takes to mark and to clear. stamp: ns. carve: the space
        before the surfaces was seen as well; False for pixels carried into a camera that was never there. measured:
        (H, W) bool, pixels of a depth sensor, which need no confirmation.
        Raises InvalidRequest for pictures of another size, impossible cameras and ones out of the grid's reach.
        """
        observed, generated = self._start(depth, image, confidence, camera)
        if self.config.confirmations:
            confirmed = self._agreement.count(depth, camera) >= self.config.confirmations
            if carve:
                self._agreement.add(depth, camera)
            depth = np.where(confirmed if measured is None else confirmed | measured, depth, np.nan)
        seen = observed.integrate(observation(depth, image, confidence, camera, stamp, self.config, carve))
        self.counts["observed"] += 1
        self.counts["replaced"] += (replaced := generated.remove(seen))
        self.counts["evicted"] += observed.evict(self.config.max_voxels)
        self.versions["observed"] += len(seen) > 0
        self.versions["generated"] += replaced > 0
        self._tick(max(self._now, stamp))

    def integrate_generated(self, view: View) -> None:
        """The pixels of `view` that the model made up: points where nothing was observed so far. Raises InvalidRequest.

        Their stamp is that of the newest source.
        """
        observed, generated = self._start(view.depth, view.image, view.confidence, view.camera)
        stamp = max(view.source_stamps, default=0)
        self._tick(max(self._now, stamp))
        pixels = (
            view.generated & usable_pixels(view.depth, view.confidence, 0.0) & (view.depth <= self.config.max_depth)
        )
        points = surface(view.depth, view.image, view.confidence, view.camera, pixels)
        unseen = ~observed.known(observed.grid.keys(points.xyz))
        generated.integrate(points.where(unseen), stamp)
        self.counts["generated"] += 1
        self.counts["evicted"] += generated.evict(self.config.max_voxels)
        self.versions["generated"] += 1

    def integrate_view(self, view: View) -> None:
        """Both kinds of pixels of a view. Its camera was never there: its observed surfaces clear nothing."""
        stamp = max(view.source_stamps, default=0)
        depth = np.where(view.generated, np.nan, view.depth)
        self.integrate_observed(depth, view.image, view.confidence, view.camera, stamp, carve=False)
        self.integrate_generated(view)

    def points(self, layer: str) -> MapPoints:
        """The points of a layer, "observed" or "generated". Raises InvalidRequest for another name."""
        if layer not in LAYERS:
            raise InvalidRequest(f"map: layer is '{layer}', expected one of {', '.join(LAYERS)}")
        if self._layers is None:
            return MapPoints.none()
        return self._layers[LAYERS.index(layer)].points()

    def occupancy(self, low: float, high: float, free_share: float = 0.5) -> OccupancyGrid:
        """The map between two heights in metres, seen from above; see `occupancy_grid`."""
        if self._layers is None:
            return nothing_known(self.config.voxel_size)
        observed, generated = self._layers
        cells, confidence = observed.cells(), generated.confidence()
        return occupancy_grid(observed.grid, *cells, generated.keys, confidence, low, high, free_share)

    def forget(self, position: np.ndarray, now: int) -> None:
        """Drop what lies beyond `radius` around `position` (3,), and generated points too old at `now` (ns)."""
        if self._layers is None:
            return
        self.versions["generated"] += len(self._layers[1]) > 0  # they fade
        self._tick(now)
        around = np.asarray(position, float), self.config.radius
        for name, gone in zip(LAYERS, [layer.keep_within(*around) for layer in self._layers], strict=True):
            self.counts["expired"] += gone
            self.versions[name] += gone > 0

    def clear(self) -> None:
        """Forget everything."""
        self._layers, self._now, self._agreement = None, 0, Agreement()
        self._all_changed()

    def sizes(self) -> dict[str, int]:
        """Voxels held, by layer."""
        return {name: len(self._layers[i]) if self._layers else 0 for i, name in enumerate(LAYERS)}

    def save(self, path: str | Path) -> list[Path]:
        """Write `path`.npz, the whole map, and `path`.ply, its points, each whole or not at all; returns the files.

        Raises InvalidRequest for an empty map, FileError where nothing can be written.
        """
        if self._layers is None:
            raise InvalidRequest("the map is empty: there is nothing to save")
        observed, generated = self._layers
        tables = {"observed": observed.table(), "generated": generated.table()}
        return map_files.save(Path(path), observed.name, observed.grid, tables, *map(self.points, LAYERS))

    def load(self, path: str | Path) -> None:
        """Become the map that `save` wrote to `path`.

        Raises FileError for a file that is missing, truncated, corrupted or too large, InvalidRequest for a map of
        another voxel size or backend; this map is as it was then.
        """
        c = self.config
        types = {"observed": self._backend.ROW, "generated": GeneratedLayer.ROW}
        grid, tables = map_files.load(Path(path), c.backend, c.voxel_size, c.max_voxels, types)
        observed, generated = self._new_layers(grid)
        observed.restore(tables["observed"])
        generated.restore(tables["generated"])
        if observed.known(generated.keys).any():
            raise FileError(f"{path}: holds generated points in observed voxels")
        self._layers = observed, generated
        self._tick(self._now or int(tables["generated"].rows["stamp"].max(initial=0)))
        self._all_changed()

    def _all_changed(self) -> None:
        self.versions = {name: version + 1 for name, version in self.versions.items()}

    def _tick(self, now: int) -> None:
        """It is `now` (ns): generated points fade."""
        self._now = now
        if self._layers is not None:
            self._layers[1].now = now
            self.counts["expired"] += self._layers[1].expire()

    def _start(
        self, depth: np.ndarray, image: np.ndarray, confidence: np.ndarray, camera: Camera
    ) -> tuple[ObservedLayer, GeneratedLayer]:
        """The layers, whose grid begins at the first camera."""
        check_pictures(depth, image, confidence, camera)
        if self._layers is None:
            self._layers = self._new_layers(VoxelGrid.around(camera.center, self.config.voxel_size))
        self._layers[0].grid.check_reach(camera, self.config.max_depth)
        return self._layers

    def _new_layers(self, grid: VoxelGrid) -> tuple[ObservedLayer, GeneratedLayer]:
        return self._backend(grid, self.config), GeneratedLayer(grid, self.config.generated_lifetime)
