# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld data`: make and check input - rooms, folders, bags, shards."""

from __future__ import annotations

import argparse
from pathlib import Path

SCENES_HELP = "KIND:PATH, such as re10k:/data/train or dl3dv:/data/DL3DV-10K (kinds: see gld_ros/data/scenes.py)"


def add_parser(subparsers) -> None:
    """Add `gld data` and its subcommands."""
    parser = subparsers.add_parser("data", help="make and check input: rooms, folders, rosbag2, training data")
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

    robot = commands.add_parser("from-bag", help="turn a robot's own rosbag2 into a sequence folder for training")
    robot.add_argument("bag", type=Path, help="rosbag2 folder, .mcap or .db3, with Image, CameraInfo and TF")
    robot.add_argument("out", type=Path, help="folder to write; key frames only")
    robot.add_argument("--camera", help="one camera of the rig (default: all)")
    robot.add_argument(
        "--translation", type=float, default=0.05, help="metres between key frames (default %(default)s)"
    )
    robot.add_argument("--rotation", type=float, default=5.0, help="or degrees (default %(default)s)")
    robot.set_defaults(run=run_from_bag)

    shard = commands.add_parser("shard", help="write scenes as tar shards (webdataset layout) for a cluster")
    shard.add_argument("scenes", help=SCENES_HELP)
    shard.add_argument("out", type=Path, help="folder to write")
    shard.add_argument("--size", help="WIDTHxHEIGHT of all images, cropped and resized (default: as they are)")
    shard.add_argument("--quality", type=int, default=95, help="of JPEG (default %(default)s); 0 writes PNG")
    shard.add_argument("--shard-mb", type=int, default=500, help="size of a shard in MB (default %(default)s)")
    shard.set_defaults(run=run_shard)

    check = commands.add_parser("check", help="read every scene, decode some images, compare poses with pixels")
    check.add_argument("scenes", help=SCENES_HELP)
    check.add_argument("--bad", type=Path, help="write the names of bad scenes there, for the option without=FILE")
    check.set_defaults(run=run_check)


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


def run_from_bag(args: argparse.Namespace) -> int:
    """Write the key frames."""
    from gld_ros.data.formats.sequences import in_time, key_frames
    from gld_ros.data.sequence import open_sequence, write_folder

    sequence = open_sequence(args.bag)
    frames = in_time(sequence, args.camera)
    kept = key_frames(frames, args.translation, args.rotation)
    write_folder(
        args.out, (frame.view() for frame in kept), [frame.camera_name for frame in kept], metric=sequence.metric
    )
    print(f"{args.out}: {len(kept)} key frames of {len(frames)} posed images")
    return 0


def run_shard(args: argparse.Namespace) -> int:
    """Write the shards."""
    from tqdm import tqdm

    from gld_ros.data.formats.shards import write_shards
    from gld_ros.data.scenes import open_scenes

    scenes = open_scenes(args.scenes)
    size = parse_size(args.size) if args.size else None
    skipped = write_shards(
        scenes,
        args.out,
        size,
        args.quality or None,
        args.shard_mb * 1_000_000,
        progress=lambda n: tqdm(n, unit="scene", disable=None),
    )
    print(f"{args.out}: {len(scenes) - len(skipped)} scenes; {skipped}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Read and report; 1 where a scene is bad."""
    from tqdm import tqdm

    from gld_ros.data.checks import check_scenes
    from gld_ros.data.scenes import open_scenes

    scenes = open_scenes(args.scenes)
    found, bad = check_scenes(scenes, lambda numbers: tqdm(numbers, unit="scene", disable=None))
    sizes = ", ".join(f"{width}x{height}" for width, height in sorted(found.sizes))
    print(f"{scenes.where}: {found.scenes} good scenes, {found.frames} frames of {sizes or 'no size'}; {bad}")
    if args.bad:
        args.bad.write_text("".join(f"{name}\n" for name in bad.scenes))
    return 1 if bad.scenes else 0


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
