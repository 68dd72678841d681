# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld dashboard`: a web page with what a running `gld_node` sees, makes and says of itself (docs/dashboard.md)."""

from __future__ import annotations

import argparse


def add_parser(subparsers) -> None:
    """Add `gld dashboard`."""
    parser = subparsers.add_parser("dashboard", help="a web page that shows a running gld_node")
    parser.add_argument("--node", default="gld_node", help="node to show, with its namespace (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default %(default)s: nobody else)")
    parser.add_argument("--port", type=int, default=8080, help="of the page; 0: any that is free (default %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until SIGINT. Raises InvalidRequest without ROS."""
    from gld_ros.errors import InvalidRequest

    try:
        from gld_ros.ros.dashboard import node as dashboard
    except ImportError as error:
        raise InvalidRequest(f"`gld dashboard` needs ROS 2 with this package built and sourced: {error}") from error
    given = {"node": args.node, "host": args.host, "port": args.port}
    parameters = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    return dashboard.main(["--ros-args", *parameters])
