"""`gld models`: which models there are, and getting their files."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add `gld models` and its subcommands."""
    parser = subparsers.add_parser("models", help="list and download models")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_list(commands)
    add_download(commands)


def add_list(commands) -> None:
    """Add `gld models list`."""
    parser = commands.add_parser("list", help="the known models: source, licence, size, whether they are on this disk")
    parser.set_defaults(run=run_list)


def add_download(commands) -> None:
    """Add `gld models download`."""
    parser = commands.add_parser("download", help="download a model, verify its files, print its folder")
    parser.add_argument("name", help="gld-da3, gld-vggt or a Hub repository owner/name")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write plain files there (default: the cache)")
    parser.add_argument("--revision", help="commit, tag or branch of the Hub repository (default: main)")
    parser.set_defaults(run=run_download)


def run_list(args: argparse.Namespace) -> int:
    """Print the table."""
    from gld_ros.models import hub
    from gld_ros.models.released_files import RELEASED

    rows = [("model", "size", "on disk", "source (licence)")]
    for name in hub.embedded_names():
        folder = hub.EMBEDDED / name
        megabytes = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        rows.append((name, f"{megabytes:.0f} MB", str(folder), "embedded (Apache-2.0)"))
    for model in RELEASED.values():
        rows.append((model.name, f"{model.gigabytes:g} GB", str(hub.on_disk(model) or "no"), model.licences))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, size, place, source in rows:
        print(f"{name:{widths[0]}}  {size:>{widths[1]}}  {place:{widths[2]}}  {source}")
    return 0


def run_download(args: argparse.Namespace) -> int:
    """Download and print the folder."""
    from gld_ros.models import hub

    print(hub.download(args.name, args.to, args.revision))
    return 0
