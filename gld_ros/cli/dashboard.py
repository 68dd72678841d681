# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld dashboard`: a web page with what a running `gld_node` sees, makes and says of itself (docs/dashboard.md)."""

from __future__ import annotations

from typing import Annotated

from typer import Exit, Option

from gld_ros.errors import InvalidRequest


def dashboard(
    node: Annotated[str, Option(help="node to show, with its namespace")] = "gld_node",
    host: Annotated[str, Option(help="address to serve at; 127.0.0.1: only to this machine")] = "127.0.0.1",
    port: Annotated[int, Option(help="port of the page; 0: any that is free")] = 8080,
) -> None:
    """Serve a web page that shows a running gld_node."""
    try:
        from gld_ros.ros.dashboard import node as server
    except ImportError as error:
        raise InvalidRequest(f"`gld dashboard` needs ROS 2 with this package built and sourced: {error}") from error
    given = {"node": node, "host": host, "port": port}
    parameters = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    raise Exit(server.main(["--ros-args", *parameters]))
