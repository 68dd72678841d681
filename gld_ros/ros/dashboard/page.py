# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page itself: a viser server with the health and the pictures of one node, and a `Drawing` of its scene."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import cv2
import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.extras import require
from gld_ros.reports.pictures import colour_depth, depth_range
from gld_ros.ros.dashboard.drawing import Drawing
from gld_ros.ros.dashboard.health import Health, health_html
from gld_ros.ros.dashboard.scene import by_provenance

PICTURE_WIDTH = 480  # pixels that are sent of a picture, at most
PANEL_WIDTH = 330  # pixels on the screen
STALE = 2.0  # seconds without a new picture of a camera


class Page:
    """A web page at http://HOST:PORT; port 0 takes any free one. `close` ends it.

    host: "127.0.0.1" for this machine only, "0.0.0.0" for whoever reaches it: there is no password.
    max_points: of each cloud that are sent to the browser. scene: what is drawn in 3D.
    Raises InvalidRequest where viser is missing or where nothing can listen at that address.
    """

    def __init__(self, node: str, host: str = "127.0.0.1", port: int = 8080, max_points: int = 200_000) -> None:
        require("dashboard", "the dashboard")
        import viser

        self._node = node
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
        self.scene = Drawing(server, max_points)
        panel = server.gui.add_panel()
        self._pictures_tab = panel.add_tab("Pictures")
        panel.dock_right()
        panel.set_width(PANEL_WIDTH)
        self._pictures: dict[str, Any] = {}
        self._arrived: dict[str, float] = {}  # when a camera's picture came last

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

    # ---- how

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
