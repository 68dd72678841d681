# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page itself: a viser server with the pictures, the scene and the health of one node."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from gld_ros.dashboard.health import Health, health_html
from gld_ros.dashboard.scene import Cloud, Frusta, by_provenance, viewpoint
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.pictures import colour_depth, depth_range

PICTURE_WIDTH = 480  # pixels that are sent of a picture, at most
PANEL_WIDTH = 330  # pixels on the screen
STALE = 2.0  # seconds without a new picture of a camera
PROVENANCE, CAMERA = "observed / generated", "as seen"


def import_viser() -> Any:
    """The module. Raises InvalidRequest that says what is missing."""
    try:
        import viser
    except ImportError as error:
        raise InvalidRequest(
            f"the dashboard needs viser, which cannot be imported: {error}. pip install 'gld_ros[dashboard]', or in a "
            "checkout pip install 'viser>=1.1,<1.2'"
        ) from None
    return viser


class Page:
    """A web page at http://HOST:PORT; port 0 takes any free one. `close` ends it.

    host: "127.0.0.1" for this machine only, "0.0.0.0" for whoever reaches it: there is no password.
    max_points: of the cloud that are sent to the browser, of each kind.
    Raises InvalidRequest where viser is missing or where nothing can listen at that address.
    """

    def __init__(self, node: str, host: str = "127.0.0.1", port: int = 8080, max_points: int = 200_000) -> None:
        viser = import_viser()
        self._node, self._max_points = node, max_points
        try:  # viser would take the next port without a word
            socket.create_server((host, port)).close()
        except (OSError, OverflowError) as error:
            raise InvalidRequest(f"the dashboard cannot listen at {host}:{port}: {error}") from None

        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # else a traceback for every port scan

        class Server(viser.ViserServer):  # type: ignore[name-defined, misc]
            """One that never opens viser's tunnel to the internet, though a browser may ask for it."""

            def request_share_url(self, verbose: bool = True) -> None:
                return None

        self._server = server = Server(host=host, port=port, label=f"{node} - dashboard", verbose=False)
        self.url = f"http://{host}:{server.get_port()}"
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.gui.main_panel.dock_left()
        server.gui.main_panel.set_width(PANEL_WIDTH)
        self._html = ""
        self._health = server.gui.add_html("")
        self._add_controls()
        panel = server.gui.add_panel()
        self._pictures_tab = panel.add_tab("Pictures")
        panel.dock_right()
        panel.set_width(PANEL_WIDTH)
        self._pictures: dict[str, Any] = {}
        self._arrived: dict[str, float] = {}  # when a camera's picture came last
        self._clouds: dict[bool, Any] = {}
        self._frusta: dict[str, Any] = {}
        self._cloud: Cloud | None = None
        self._cameras: Sequence[Frusta] = ()
        self._scene = threading.RLock()  # a visitor's controls act in threads of viser's

    @property
    def visitors(self) -> int:
        """Browsers that have the page open."""
        return len(self._server.get_clients())

    def close(self) -> None:
        self._server.stop()

    # ---- what is shown

    def health(self, health: Health) -> None:
        """Replace the health."""
        html = health_html(self._node, health)
        if html != self._html:
            self._html = self._health.content = html

    def camera(self, name: str, image: np.ndarray) -> None:
        """Replace the picture of camera `name`; (H, W, 3) uint8."""
        self._arrived[name] = time.monotonic()
        self._picture(name, image, order=0)

    def age_pictures(self) -> None:
        """Say so at the pictures of cameras that have nothing new, so that nobody takes them for live."""
        for name, arrived in self._arrived.items():
            age = time.monotonic() - arrived
            if age > STALE:
                self._pictures[name].label = f"{name}: NOTHING NEW FOR {age:.0f} s"

    def view(self, title: str, image: np.ndarray, depth: np.ndarray, generated: np.ndarray) -> None:
        """Replace the synthesized view: image (H, W, 3) uint8, depth (H, W) metres with NaN, generated (H, W) bool."""
        near, far = depth_range([depth])
        with self._server.atomic():
            self._picture("view", image, order=1, label=f"synthesized: {title}")
            self._picture("provenance", by_provenance(image, generated), order=2,
                          label=f"observed (green), generated (orange, {generated.mean():.0%})")  # fmt: skip
            self._picture("depth", colour_depth(depth, near, far), order=3,
                          label=f"depth, {near:.1f} m (bright) to {far:.1f} m")  # fmt: skip

    def cloud(self, cloud: Cloud) -> None:
        """Replace the cloud. The first one is brought into view."""
        first = self._cloud is None and len(cloud.points)
        self._count.content = (
            f'<div id="points" style="font-size:.8em;padding:.3em .8em">{(~cloud.generated).sum():,} observed, '
            f"{cloud.generated.sum():,} generated points</div>"
        )
        with self._scene:
            self._cloud = cloud if len(cloud.points) else None
            self._draw_cloud()
        self._aim(everybody=bool(first))

    def frusta(self, groups: Sequence[Frusta]) -> None:
        """Replace the cameras."""
        with self._scene:
            self._cameras = groups
            for group in groups:
                self._frusta[group.name] = self._server.scene.add_line_segments(
                    f"/{group.name}",
                    group.lines.astype(np.float32),
                    group.colour,
                    thickness=2.0,
                    thickness_units="screen",
                    visible=self._toggles[group.name].value,
                )
        self._aim()

    # ---- how

    def _add_controls(self) -> None:
        gui = self._server.gui
        with gui.add_folder("Scene"):
            self._count = gui.add_html("")
            self._colours = gui.add_dropdown("Colours", (PROVENANCE, CAMERA))
            self._size = gui.add_slider("Point size, m", 0.005, 0.1, 0.005, 0.02)
            names = {"observed": "Observed points", "generated": "Generated points"}
            names |= {"sources": "Key frames (green)", "requests": "Asked for (orange)"}
            self._toggles = {name: gui.add_checkbox(title, True) for name, title in names.items()}
            look = gui.add_button("Look at the cloud")
        for control in (self._colours, self._size):
            control.on_update(lambda _: self._draw_cloud())
        for name, toggle in self._toggles.items():
            toggle.on_update(lambda event, name=name: self._show(name, event.target.value))
        look.on_click(lambda event: self._aim_client(event.client))

    def _picture(self, key: str, image: np.ndarray, order: float, label: str = "") -> None:
        height, width = image.shape[:2]
        if width > PICTURE_WIDTH:
            size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        picture = self._pictures.get(key)
        if picture is None:
            with self._pictures_tab:
                self._pictures[key] = self._server.gui.add_image(
                    image, label=label or key, format="jpeg", jpeg_quality=85, order=order
                )
        else:
            picture.image, picture.label = image, label or key

    def _draw_cloud(self) -> None:
        with self._scene:
            if self._cloud is None:
                for drawn in self._clouds.values():
                    drawn.remove()
                self._clouds.clear()
                return
            for generated in (False, True):
                part = self._cloud.part(generated).thinned(self._max_points)
                tinted = self._colours.value == PROVENANCE
                name = "generated" if generated else "observed"
                self._clouds[generated] = self._server.scene.add_point_cloud(
                    f"/points/{name}",
                    part.points,
                    by_provenance(part.colours, part.generated) if tinted else part.colours,
                    point_size=self._size.value,
                    point_shape="circle",
                    point_shading="flat",
                    precision="float32",
                    visible=self._toggles[name].value,
                )

    def _show(self, name: str, visible: bool) -> None:
        with self._scene:
            drawn = {"observed": self._clouds.get(False), "generated": self._clouds.get(True)} | self._frusta
            handle = drawn.get(name)
            if handle is not None:
                handle.visible = visible

    def _aim(self, everybody: bool = False) -> None:
        """Where a new visitor looks from; `everybody` is moved there now."""
        if self._cloud is None:
            return
        camera = self._server.initial_camera
        camera.position, camera.look_at = viewpoint(self._cloud.points, self._cameras)
        if everybody:
            for client in self._server.get_clients().values():
                self._aim_client(client)

    def _aim_client(self, client: Any) -> None:
        if client is not None and self._cloud is not None:
            client.camera.position, client.camera.look_at = viewpoint(self._cloud.points, self._cameras)
