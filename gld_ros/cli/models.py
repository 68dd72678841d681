# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld models`: which models there are, getting their files, checking, converting and measuring them."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path


def add_parser(subparsers) -> None:
    """Add `gld models` and its subcommands."""
    parser = subparsers.add_parser("models", help="list, download, verify, convert and measure models")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_list(commands)
    add_download(commands)
    add_verify(commands)
    add_convert(commands)
    add_info(commands)


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


def add_verify(commands) -> None:
    """Add `gld models verify`."""
    parser = commands.add_parser("verify", help="check every file, key, shape and number of a model folder")
    parser.add_argument(
        "model", metavar="DIR", help="a folder in the official layout or a converted one, or a known name"
    )
    parser.add_argument("--record", action="store_true", help="if all is well, write SHA256SUMS for later runs")
    parser.set_defaults(run=run_verify)


def add_convert(commands) -> None:
    """Add `gld models convert`."""
    parser = commands.add_parser("convert", help="write safetensors, one or several a component, that load at once")
    parser.add_argument("model", metavar="DIR", help="a model folder or a known name")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write; continues what was interrupted")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="default %(default)s")
    parser.add_argument("--shard-size", type=byte_count, default="1GB", help="most weights a file (default: 1GB)")
    parser.set_defaults(run=run_convert)


def add_info(commands) -> None:
    """Add `gld models info`."""
    parser = commands.add_parser("info", help="parameters, bytes and estimated memory, without loading anything")
    parser.add_argument("model", metavar="NAME|DIR", help="mini, gld-da3, gld-vggt or a model folder")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run_info)


def byte_count(text: str) -> int:
    """Bytes of "500MB", "1GB", "1.5GB"."""
    match = re.fullmatch(r"([0-9.]+)\s*(MB|GB)", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 500MB or 1GB")
    return int(float(match[1]) * {"MB": 1e6, "GB": 1e9}[match[2].upper()])


def run_list(args: argparse.Namespace) -> int:
    """Print the table."""
    from gld_ros.weights import hub
    from gld_ros.weights.released_files import RELEASED

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
    from gld_ros.weights import hub

    print(hub.download(args.name, args.to, args.revision))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Print what each file was compared with; the error lists every problem."""
    from tqdm import tqdm

    from gld_ros.weights import hub
    from gld_ros.weights.verification import record, verify

    with tqdm(unit=" steps", leave=False, disable=None) as bar:

        def show(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        result = verify(hub.as_it_is(args.model), show)
    width = max(len(report.file) for report in result.files)
    print(f"{'file':{width}}  {'MB':>9}  compared with")
    for report in result.files:
        print(f"{report.file:{width}}  {report.size / 1e6:9.1f}  {report.problem or report.compared}")
    for notice in result.folder.notices:
        print(f"note: {notice}")
    unknown = [report.file for report in result.files if not report.problem and report.compared == "nothing"]
    if unknown:
        print(f"note: no hash known of {', '.join(unknown)}: a changed byte would go unseen (see --record)")
    result.raise_problems()
    print(f"{result.folder.path}: {result.folder.config.name}, all keys, shapes and numbers are right")
    if args.record:
        print(record(result))
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Convert, with a progress bar, and print the folder."""
    from tqdm import tqdm

    from gld_ros.weights import hub
    from gld_ros.weights.conversion import convert
    from gld_ros.weights.layout import DTYPES

    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def show(file: str, size: int) -> None:
            bar.set_postfix_str(file)
            bar.update(size)

        convert(hub.resolve(args.model), args.out, DTYPES[args.dtype], args.shard_size, show)
    print(args.out)
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Print parameters, bytes and estimates."""
    from gld_ros.networks.released import MODELS
    from gld_ros.weights.hub import EMBEDDED
    from gld_ros.weights.layout import open_folder
    from gld_ros.weights.memory import describe

    config = MODELS.get(args.model)
    if config is None:
        embedded = EMBEDDED / args.model
        config = open_folder(embedded if embedded.is_dir() else Path(args.model).expanduser()).config
    content = describe(config)
    if args.json:
        print(json.dumps(content, indent=1))
        return 0
    print(f"{content['model']}: {content['total']:,} parameters")
    for name, count in content["parameters"].items():
        print(f"  {name:12} {count:>13,}")
    print("weights: " + ", ".join(f"{size / 1e6:,.0f} MB in {name}" for name, size in content["weights"].items()))
    print("estimated peak, weights and activations:")
    for row in content["peaks"]:
        (H, W), (sources, targets) = row["size"], row["views"]
        place = f"{row['device']}{', offload sequential' if row['offload'] else ''}"
        print(f"  {sources}+{targets} views of {W}x{H}, {row['dtype']:8}, {place:24} {row['bytes'] / 1e6:9,.0f} MB")
    return 0
