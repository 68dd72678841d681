# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page's 3D part with its controls: the cloud of the last answer, the map's layers and grid, and cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gld_ros.ros.dashboard.scene import Cloud, Frusta, by_provenance, floor_plan, viewpoint
from gld_ros.scene.map.occupancy import OccupancyGrid

PROVENANCE, CAMERA = "observed / generated", "as seen"
KINDS = ("observed", "generated")
TOGGLES = {
    "observed": "Observed points",
    "generated": "Generated points",
    "map_observed": "Map: observed",
    "map_generated": "Map: generated",
    "map_grid": "Map: grid",
    "sources": "Key frames (green)",
    "requests": "Asked for (orange)",
}
# Of the clouds: shape and size (times the slider's value). One sees through the map, which has walls all around.
STYLES: dict[str, tuple[str, float]] = {
    **dict.fromkeys(KINDS, ("circle", 1.0)),
    **{f"map_{kind}": ("square", 0.6) for kind in KINDS},
}
MAP_BRIGHTNESS = 0.75
GRID_HEIGHT = -0.02  # metres in the map frame: under what is drawn at the floor


class Drawing:
    """The 3D scene of `server` (viser), the same for every visitor. From any thread.

    max_points: of each cloud that are sent to the browser.
    """

    def __init__(self, server: Any, max_points: int) -> None:
        self._server, self._max_points = server, max_points
        self._clouds: dict[str, Cloud] = {}  # by layer, none empty
        self._drawn: dict[str, Any] = {}  # by toggle
        self._cameras: Sequence[Frusta] = ()
        self._worth = 0  # of the best that visitors were made to look at
        self._map_sizes = [0, 0]  # points observed, generated
        self._lock = threading.RLock()  # a visitor's controls act in threads of viser's
        gui = server.gui
        with gui.add_folder("Scene"):
            self._counts = {name: gui.add_html("") for name in ("points", "map")}
            self._colours = gui.add_dropdown("Colours", (PROVENANCE, CAMERA))
            self._size = gui.add_slider("Point size, m", 0.005, 0.1, 0.005, 0.02)
            self._toggles = {name: gui.add_checkbox(title, True) for name, title in TOGGLES.items()}
            look = gui.add_button("Look at the cloud")
        for control in (self._colours, self._size):
            control.on_update(lambda _: self._draw_clouds())
        for name, toggle in self._toggles.items():
            toggle.on_update(lambda _, name=name: self._show(name))
        look.on_click(lambda event: self._aim_client(event.client))

    def cloud(self, cloud: Cloud) -> None:
        """Replace the cloud of the last answer. The first one is brought into view, from where it was asked for."""
        with self._lock:
            for generated, layer in enumerate(KINDS):
                self._set_cloud(layer, cloud.part(bool(generated)))
            self._count("points", "", (~cloud.generated).sum(), cloud.generated.sum())
            self._aim()

    def map_layer(self, generated: bool, cloud: Cloud) -> None:
        """Replace one layer of the map. Before any answer, the first one is brought into view."""
        with self._lock:
            self._set_cloud(f"map_{KINDS[generated]}", cloud)
            self._map_sizes[generated] = len(cloud)
            self._count("map", "map: ", *self._map_sizes)
            self._aim()

    def map_grid(self, grid: OccupancyGrid) -> None:
        """Replace the map's grid, which is drawn at the height 0 of the map frame."""
        width, height = size = np.array(grid.data.shape[::-1]) * grid.resolution
        picture = floor_plan(grid.data)  # viser draws the first row at the smallest y
        with self._lock:
            add = partial(self._server.scene.add_image, "/map/grid", cast_shadow=False, receive_shadow=False)
            position = (*(grid.origin + size / 2), GRID_HEIGHT)
            self._draw("map_grid", add, image=picture, render_width=width, render_height=height, position=position)

    def frusta(self, groups: Sequence[Frusta]) -> None:
        """Replace the cameras."""
        with self._lock:
            self._cameras = groups
            for group in groups:
                add = partial(
                    self._server.scene.add_line_segments, f"/{group.name}", thickness=2.0, thickness_units="screen"
                )
                lines, colour = group.lines.astype(np.float32), np.array(group.colour, np.uint8)
                self._draw(group.name, add, points=lines, colors=colour)
            self._aim()

    # ---- how

    def _set_cloud(self, layer: str, cloud: Cloud) -> None:
        if len(cloud):
            self._clouds[layer] = cloud.thinned(self._max_points)
            self._draw_cloud(layer)
        elif self._clouds.pop(layer, None) is not None:
            self._drawn.pop(layer).remove()

    def _draw_clouds(self) -> None:
        with self._lock:
            for layer in self._clouds:
                self._draw_cloud(layer)

    def _draw_cloud(self, layer: str) -> None:
        cloud, (shape, size) = self._clouds[layer], STYLES[layer]
        colours = cloud.colours
        if self._colours.value == PROVENANCE:
            colours = by_provenance(colours, cloud.generated, MAP_BRIGHTNESS if layer.startswith("map") else 1.0)
        add = partial(
            self._server.scene.add_point_cloud,
            f"/points/{layer}",
            point_shape=shape,
            point_shading="flat",
            precision="float32",
        )
        self._draw(layer, add, points=cloud.points, colors=colours, point_size=self._size.value * size)

    def _draw(self, name: str, add: Callable[..., Any], **properties: Any) -> None:
        """Give what is drawn as `name` new properties; `add` makes it.

        Made anew under its old name it would be seen even where it is hidden: viser's page forgets that.
        """
        drawn = self._drawn.get(name)
        if drawn is None:
            self._drawn[name] = add(**properties, visible=self._toggles[name].value)
            return
        with self._server.atomic():
            for key, value in properties.items():
                setattr(drawn, key, value)

    def _count(self, name: str, title: str, observed: int, generated: int) -> None:
        self._counts[name].content = (
            f'<div id="{name}" style="font-size:.8em;padding:.3em .8em">{title}{observed:,} observed, '
            f"{generated:,} generated points</div>"
        )

    def _show(self, name: str) -> None:
        """As its box says by now: of two clicks, the second may come here first."""
        with self._lock:
            if name in self._drawn:
                self._drawn[name].visible = self._toggles[name].value

    def _aim(self) -> None:
        """Set the first viewpoint of a new visitor. Everybody is moved there if it is better than the one before."""
        place = self._place()
        if place is None:
            return
        self._server.initial_camera.position, self._server.initial_camera.look_at = place
        answer = bool(self._points(""))
        asked = any(group.name == "requests" and len(group.lines) for group in self._cameras)
        worth = 1 + answer + (answer and asked)  # an answer and its camera come as two messages, in any order
        if worth > self._worth:
            self._worth = worth
            for client in self._server.get_clients().values():
                client.camera.position, client.camera.look_at = place

    def _aim_client(self, client: Any) -> None:
        place = self._place()
        if client is not None and place is not None:
            client.camera.position, client.camera.look_at = place

    def _place(self) -> tuple[np.ndarray, np.ndarray] | None:
        """To look from and to look at: at the last answer, or else at the map; None where there is neither."""
        with self._lock:
            points = self._points("") or self._points("map_")
            return viewpoint(np.concatenate(points), self._cameras) if points else None

    def _points(self, prefix: str) -> list[np.ndarray]:
        """Points of the clouds of the last answer, "", or of the map, "map_": (N, 3) each."""
        return [self._clouds[name].points for kind in KINDS if (name := prefix + kind) in self._clouds]
