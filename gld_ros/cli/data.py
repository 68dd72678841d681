"""`gld data`: make input - a procedural room as a sequence folder, a sequence folder as a rosbag2."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add `gld data to-bag` and `gld data rooms`."""
    parser = subparsers.add_parser("data", help="make input: rooms as folders, folders as rosbag2")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    bag = commands.add_parser("to-bag", help="write a sequence as a rosbag2: images, CameraInfo, depth, TF")
    bag.add_argument("sequence", type=Path, help="folder with transforms.json, or another rosbag2")
    bag.add_argument("out", type=Path, help="folder of the bag; must not exist")
    bag.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    bag.add_argument("--compressed", action="store_true", help="JPEG CompressedImage instead of Image")
    bag.set_defaults(run=run_to_bag)

    rooms = commands.add_parser("rooms", help="render a robot's drive through a procedural room as a sequence folder")
    rooms.add_argument("--out", type=Path, required=True, help="folder to write")
    rooms.add_argument("--seed", type=int, default=0, help="which room (default %(default)s)")
    rooms.add_argument("--frames", type=int, default=24, help="number of frames (default %(default)s)")
    rooms.add_argument("--size", default="320x240", help="WIDTHxHEIGHT in pixels (default %(default)s)")
    rooms.set_defaults(run=run_rooms)


def run_to_bag(args: argparse.Namespace) -> int:
    """Write the bag."""
    from gld_ros.data.bag_writer import write_bag
    from gld_ros.data.sequence import open_sequence

    sequence = open_sequence(args.sequence)
    write_bag(sequence, args.out, args.storage, args.compressed)
    print(f"{args.out}: {len(sequence.frames)} frames of {', '.join(sequence.camera_names)} ({args.storage})")
    return 0


def run_rooms(args: argparse.Namespace) -> int:
    """Render and write the folder."""
    from gld_ros.data.sequence import write_folder
    from gld_ros.data.simulation import Robot

    robot = Robot(args.seed, args.frames, *parse_size(args.size))
    write_folder(args.out, [view for instant in robot.drive() for _, view in instant.views])
    print(f"{args.out}: {args.frames} frames of room {args.seed}")
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of "320x240". Raises InvalidRequest for anything else."""
    from gld_ros.errors import InvalidRequest

    try:
        width, height = (int(part) for part in text.split("x"))
    except ValueError:
        raise InvalidRequest(f"size {text!r}: WIDTHxHEIGHT in pixels is expected, e.g. 320x240") from None
    if width < 1 or height < 1:
        raise InvalidRequest(f"size {text!r}: width and height above 0 are expected")
    return width, height
