# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld models`: which models there are, getting their files, checking, converting and measuring them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option, Typer

from gld_ros.cli.options import Precision, progress, show

app = Typer(help="List, download, verify, convert and measure models.", no_args_is_help=True)


def byte_count(text: str) -> int:
    """Bytes of "500MB", "1GB", "1.5GB"."""
    match = re.fullmatch(r"([0-9.]+)\s*(MB|GB)", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise BadParameter(f"'{text}' is no size such as 500MB or 1GB")
    return int(float(match[1]) * {"MB": 1e6, "GB": 1e9}[match[2].upper()])


@app.command("list")
def list_models() -> None:
    """List the known models: source, licence, size, whether they are on this disk."""
    from gld_ros.weights import hub
    from gld_ros.weights.released_files import RELEASED

    rows = []
    for name in hub.embedded_names():
        folder = hub.EMBEDDED / name
        megabytes = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        rows.append((name, f"{megabytes:.0f} MB", str(folder), "embedded (Apache-2.0)"))
    for model in RELEASED.values():
        rows.append((model.name, f"{model.gigabytes:g} GB", str(hub.on_disk(model) or "no"), model.licences))
    show(["model", ">size", "on disk", "source (licence)"], rows)


@app.command()
def download(
    name: Annotated[str, Argument(help="gld-da3, gld-vggt, gen3r or a Hub repository owner/name")],
    to: Annotated[Path | None, Option(metavar="DIR", help="write plain files there (default: the cache)")] = None,
    revision: Annotated[str | None, Option(help="commit, tag or branch of the Hub repository (default: main)")] = None,
) -> None:
    """Download a model, verify its files, print its folder."""
    from gld_ros.weights import hub

    print(hub.download(name, to, revision))


@app.command()
def verify(
    model: Annotated[str, Argument(metavar="DIR", help="a model folder or a known name")],
    record: Annotated[bool, Option("--record", help="if all is well, write SHA256SUMS for later runs")] = False,
) -> None:
    """Check every file, key, shape and number of a model folder."""
    from gld_ros.weights import hub, verification

    with progress("verify") as update:
        result = verification.verify(hub.as_it_is(model), lambda step: update(1, description=step))
    rows = [(file.file, f"{file.size / 1e6:.1f}", file.problem or file.compared) for file in result.files]
    show(["file", ">MB", "compared with"], rows)
    for notice in result.folder.notices:
        print(f"note: {notice}")
    unknown = [report.file for report in result.files if not report.problem and report.compared == "nothing"]
    if unknown:
        print(f"note: no hash known of {', '.join(unknown)}: a changed byte would go unseen (see --record)")
    result.folder.refuse(result.problems)
    print(f"{result.folder.path}: {result.folder.config.name}, all keys, shapes and numbers are right")
    if record:
        print(verification.record(result))


@app.command()
def convert(
    model: Annotated[str, Argument(metavar="DIR", help="a model folder or a known name")],
    out: Annotated[Path, Argument(metavar="OUT", help="the folder to write; continues what was interrupted")],
    dtype: Annotated[Precision, Option(help="of the weights written")] = "bfloat16",
    shard_size: Annotated[Any, Option(parser=byte_count, metavar="SIZE", help="most weights a file")] = "1GB",
) -> None:
    """Write safetensors, one or several a component, that load at once."""
    from gld_ros.weights import conversion, hub
    from gld_ros.weights.layout import DTYPES

    with progress("convert") as update:
        folder = hub.resolve(model)
        conversion.convert(folder, out, DTYPES[dtype], shard_size, lambda file, size: update(size, description=file))
    print(out)


@app.command()
def info(
    model: Annotated[str, Argument(metavar="NAME|DIR", help="mini, gld-da3, gld-vggt, gen3r or a model folder")],
    as_json: Annotated[bool, Option("--json", help="as JSON")] = False,
) -> None:
    """Show parameters, bytes and estimated memory, without loading anything."""
    from gld_ros.generators import gen3r_memory
    from gld_ros.generators.gld_setup import presets, sampling_flops
    from gld_ros.networks.gen3r.configs import Gen3RConfig
    from gld_ros.networks.released import MODELS
    from gld_ros.weights.hub import EMBEDDED
    from gld_ros.weights.layout import open_folder
    from gld_ros.weights.memory import describe

    config: Any = {**MODELS, "gen3r": Gen3RConfig()}.get(model)
    if config is None:
        embedded = EMBEDDED / model
        config = open_folder(embedded if embedded.is_dir() else Path(model).expanduser()).config
    if isinstance(config, Gen3RConfig):
        content = gen3r_memory.describe(config)
    else:
        content = describe(config)
        requests = dict.fromkeys((row["size"], sum(row["views"])) for row in content["peaks"])
        content["sampling"] = [
            {"size": size, "views": views, "flops": sampling_flops(config, presets(config)["exact"], size, views)}
            for size, views in requests
        ]
    if as_json:
        print(json.dumps(content, indent=1))
        return
    parameters = content["parameters"] | {"all": content["total"]}
    show([content["model"], ">parameters"], [(name, f"{count:,}") for name, count in parameters.items()])
    print("weights: " + ", ".join(f"{size / 1e6:,.0f} MB in {name}" for name, size in content["weights"].items()))
    for row in content["sampling"]:
        (H, W), tera = row["size"], row["flops"] / 1e12
        print(f"sampling, preset exact: {tera:,.2f} TFLOP for {row['views']} views of {W}x{H}")
    if "stages" in content:
        _show_stages(content)
        return
    rows = []
    for row in content["peaks"]:
        (H, W), (sources, targets) = row["size"], row["views"]
        place = f"{row['device']}{', offload sequential' if row['offload'] else ''}"
        rows.append((f"{sources}+{targets} of {W}x{H}", row["dtype"], place, f"{row['bytes'] / 1e6:,.0f}"))
    print("estimated peak, weights and activations:")
    show(["views", "dtype", "device", ">MB"], rows)


def _show_stages(content: dict[str, Any]) -> None:
    """The estimate of a model whose components are on the device by stage."""
    request = content["request"]
    W, H = request["size"]
    rows = [
        (row["stage"], *(f"{n / 1e6:,.0f}" for n in (row["weights"], row["activations"])))
        + (f"{(row['weights'] + row['activations']) / 1e6:,.0f}",)
        for row in content["stages"]
    ]
    print(f"estimated for {request['frames']} frames of {W}x{H} in {request['dtype']}, by the components at work:")
    show(["components", ">MB weights", ">MB activations", ">MB"], rows)
    sequential, none = (content["peak"][offload] / 1e6 for offload in ("sequential", "none"))
    print(f"peak: {sequential:,.0f} MB with offload sequential, {none:,.0f} MB without; no text encoder at work")
