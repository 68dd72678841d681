# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld data`: make and check input - rooms, folders, bags, shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Exit, Option, Typer

from gld_ros.cli.options import SEQUENCE, Opening, OutFolder, grouped, size_option, track

app = Typer(help="Make and check input: rooms, folders, rosbag2, training data.", no_args_is_help=True)

Scenes = Annotated[
    str,
    Argument(
        metavar="KIND:PATH",
        help="such as re10k:/data/train (kinds: docs/data.md), or a path of sequences whose files tell the kind",
    ),
]


@app.command("to-bag")
@grouped
def to_bag(
    sequence: Annotated[Path, Argument(help=SEQUENCE)],
    out: Annotated[Path, Argument(help="folder of the bag; must not exist")],
    storage: Annotated[Literal["mcap", "sqlite3"], Option(help="format of the bag")] = "mcap",
    compressed: Annotated[bool, Option("--compressed", help="JPEG CompressedImage instead of Image")] = False,
    *,
    opening: Opening,
) -> None:
    """Write a sequence as a rosbag2: images, CameraInfo, depth, TF."""
    from gld_ros.data.bag_writer import write_bag

    opened = opening.open(sequence)
    write_bag(opened, out, storage, compressed)
    print(f"{out}: {len(opened.frames)} frames of {', '.join(opened.camera_names)} ({storage})")


@app.command()
def rooms(
    out: OutFolder,
    seed: Annotated[int, Option(help="which room")] = 0,
    frames: Annotated[int, Option(help="number of frames")] = 24,
    size: Annotated[Any, size_option("size of the images, in pixels")] = "320x240",
) -> None:
    """Render a robot's drive through a procedural room as a sequence folder."""
    from gld_ros.data.sequence import write_folder
    from gld_ros.data.simulation import Robot

    robot = Robot(seed, frames, size[1], size[0])
    write_folder(out, [view for instant in robot.drive() for _, view in instant.views])
    print(f"{out}: {frames} frames of room {seed}")


@app.command("from-bag")
@grouped
def from_bag(
    bag: Annotated[Path, Argument(help="rosbag2 folder, .mcap or .db3, with Image, CameraInfo and TF")],
    out: Annotated[Path, Argument(help="folder to write; key frames only")],
    camera: Annotated[str | None, Option(help="one camera of the rig (default: all)")] = None,
    translation: Annotated[float, Option(help="metres between key frames")] = 0.05,
    rotation: Annotated[float, Option(help="or degrees between them")] = 5.0,
    *,
    opening: Opening,
) -> None:
    """Turn a robot's own rosbag2 into a sequence folder for training."""
    from gld_ros.data.formats.bags import key_frames
    from gld_ros.data.formats.sequences import in_time
    from gld_ros.data.sequence import write_folder

    sequence = opening.open(bag)
    posed = in_time(sequence, camera)
    kept = key_frames(posed, translation, rotation)
    write_folder(out, (frame.view() for frame in kept), [frame.camera_name for frame in kept], metric=sequence.metric)
    print(f"{out}: {len(kept)} key frames of {len(posed)} posed images")


@app.command()
def shard(
    scenes: Scenes,
    out: Annotated[Path, Argument(help="folder to write")],
    size: Annotated[Any, size_option("size of all images, cropped and resized (default: as they are)")] = None,
    quality: Annotated[int, Option(help="quality of JPEG; 0 writes PNG")] = 95,
    shard_mb: Annotated[int, Option(help="size of a shard in MB")] = 500,
) -> None:
    """Write scenes as tar shards (webdataset layout) for a cluster."""
    from gld_ros.data.formats.shards import write_shards
    from gld_ros.data.scenes import open_scenes

    opened = open_scenes(scenes)
    pixels = (size[1], size[0]) if size else None
    skipped = write_shards(
        opened, out, pixels, quality or None, shard_mb * 1_000_000, progress=lambda numbers: track(numbers, "shard")
    )
    print(f"{out}: {len(opened) - len(skipped)} scenes; {skipped}")


@app.command()
def check(
    scenes: Scenes,
    bad: Annotated[Path | None, Option(help="write the names of bad scenes there, for the option without=FILE")] = None,
) -> None:
    """Read every scene, decode some images, compare poses with pixels. The exit code is 1 where a scene is bad."""
    from gld_ros.data.checks import check_scenes
    from gld_ros.data.scenes import open_scenes

    opened = open_scenes(scenes)
    found, refused = check_scenes(opened, lambda numbers: track(numbers, "check"))
    sizes = ", ".join(f"{width}x{height}" for width, height in sorted(found.sizes))
    print(f"{opened.where}: {found.scenes} good scenes, {found.frames} frames of {sizes or 'no size'}; {refused}")
    if bad:
        bad.write_text("".join(f"{name}\n" for name in refused.scenes))
    raise Exit(int(bool(refused.scenes)))
