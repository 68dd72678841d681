# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Getting a model's files: the embedded model, a folder, a released GLD, a Hub repository.

A released model becomes a folder in the official layout: `checkpoints/*.pt`, `pretrained_models/**` (VGGT's own weights
as `pretrained_models/vggt/model.safetensors`), `model_stats/{da3,vggt}/*.pt`, and `release.json`, which records the
commits the files came from and the size and sha256 of each. Weights stay in the normal Hugging Face cache (HF_HOME,
HF_ENDPOINT and HF_HUB_OFFLINE as ever), linked from `HF_ASSETS_CACHE/gld_ros/<model>/<revision>`. The statistics are
not on the Hub: they come from the official git repository at a pinned commit and lie in that folder as files. Gen3R is
one repository, taken as it is.

What is pinned (the table is released_files.py): VGGT-1B and the statistics by commit and sha256. Of the GLD repository
no commit is known to us: "main" is asked for, files whose sha256 is known are refused when they differ, and of the
others the sha256 that was found is recorded. A revision (also `name@revision`) pins the commit, not other content.

After an interruption the same command continues with the files that were not complete. Inside a file, huggingface_hub
resumes a broken connection where it stopped; a file that a killed process left unfinished, 1.x begins again.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import sys
import urllib.request
from pathlib import Path

import huggingface_hub  # its functions only where they are called: they take long to import
from huggingface_hub import constants

from gld_ros.errors import GLDError, ModelError
from gld_ros.files import replacing, sha256, write_bytes, write_text
from gld_ros.weights.hub_errors import explained, reason
from gld_ros.weights.released_files import CONFIG, RECORD, RELEASED, HubSource, ReleasedFile, ReleasedModel

EMBEDDED = Path(__file__).parent
STATISTICS_MIRROR = "GLD_STATISTICS_URL"  # environment variable: a mirror of the official git tree
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_TIMEOUT = 30.0  # seconds, for the statistics


def resolve(name: str, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder of "mini", "gld-da3", "gld-vggt", a local folder or a Hub id "owner/name"; `@revision` may follow.

    What is complete on disk is taken without asking the network, except for Hub ids, whose commit is asked for.
    local_files_only: download nothing. Raises ModelError: unknown name, offline or unreachable, missing, corrupted or
    half-downloaded files.
    """
    if revision is None and (folder := _local(name)):
        return folder
    bare, revision = _split(name, revision)
    if model := RELEASED.get(bare):
        if folder := on_disk(model, revision):
            return folder
        if local_files_only:
            raise ModelError(f"model '{name}' is not on this disk; get it with `gld models download {name}`")
    if not local_files_only:
        return download(bare, revision=revision)
    _check_hub_id(name, bare)
    return _download_repository(bare, None, revision, local_files_only)


def as_it_is(name: str) -> Path:
    """The folder of a model on this disk, complete and whole or not. Raises ModelError where there is none."""
    bare, revision = _split(name, None)
    if not _local(name) and bare in RELEASED:
        folder = released_folder(RELEASED[bare], revision)
        if folder.is_dir():
            return folder
    return resolve(name, local_files_only=True)


def download(name: str, to: Path | None = None, revision: str | None = None) -> Path:
    """Download a released model or a Hub repository of ours, verify it, and return its folder.

    to: write plain files there, not into the cache. Raises ModelError as `resolve` does.
    """
    name, revision = _split(name, revision)
    if model := RELEASED.get(name):
        return download_released(model, to, revision)
    if _local(name):
        raise ModelError(f"model '{name}' is {_local(name)}: nothing to download, nor a revision to choose")
    _check_hub_id(name, name)
    return _download_repository(name, to, revision)


def download_released(model: ReleasedModel, to: Path | None = None, revision: str | None = None) -> Path:
    """Download what is missing of a released model, verify all of it, and return its folder (see `resolve`)."""
    print(f"{model.name}: about {model.gigabytes:g} GB from {model.licences}", file=sys.stderr)
    folder = to or released_folder(model, revision)
    commits, digests = {}, {}
    try:
        for file in model.statistics:
            digests[file.path] = _get_statistics(model, file, folder)
        for source in model.sources:
            wanted = revision if revision and source is model.sources[0] else source.revision
            commits[source.repository], hashes = _get_weights(source, wanted, folder, plain=to is not None)
            digests |= hashes
        files = {path: {"size": (folder / path).stat().st_size, "sha256": digests[path]} for path in digests}
        record = {"model": model.name, "commits": commits, "files": files}
        write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
        if model.prompts:
            _keep_prompts(model, folder)
    except OSError as error:
        raise ModelError(f"{folder}: {reason(error)}") from error
    return folder


def _keep_prompts(model: ReleasedModel, folder: Path) -> None:
    """Compute the states of a model's usual prompts while its text encoder is at hand; failing is no error here."""
    from gld_ros.weights.text_states import TextStates  # torch takes seconds to import

    try:
        states = TextStates(folder)
        for prompt in model.prompts:
            states(prompt)
    except (GLDError, MemoryError) as error:
        print(f"{model.name}: the states of its prompts are computed at the first use ({error})", file=sys.stderr)


def released_folder(model: ReleasedModel, revision: str | None = None) -> Path:
    """The folder of a released model in the cache, which may not exist yet."""
    name = (revision or model.sources[0].revision).replace("/", "--")
    return Path(constants.HF_ASSETS_CACHE) / "gld_ros" / model.name / name


def on_disk(model: ReleasedModel, revision: str | None = None) -> Path | None:
    """The folder of a released model if all its files are there, with the sizes they had when they were verified."""
    folder = released_folder(model, revision)
    try:
        files = json.loads((folder / RECORD).read_text())["files"]
        complete = all((folder / path).stat().st_size == entry["size"] for path, entry in files.items())
        complete &= all(sha256(folder / file.path) == file.sha256 for file in model.statistics)  # they are small
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if complete else None


def embedded_names() -> list[str]:
    """Names of the models inside the package."""
    return sorted(p.name for p in EMBEDDED.iterdir() if (p / CONFIG).is_file()) if EMBEDDED.is_dir() else []


def _known() -> str:
    return ", ".join([*embedded_names(), *RELEASED])


def check(path: Path, file: ReleasedFile) -> str:
    """The sha256 of a file; ModelError if its size or sha256 is not the published one."""
    advice = f"corrupted, half-downloaded or another version; delete {path.resolve()} and run the same command again"
    size = path.stat().st_size
    if file.size not in (None, size):
        raise ModelError(f"{path}: {size:,} bytes, expected {file.size:,}: {advice}")
    digest = sha256(path)
    if file.sha256 not in (None, digest):
        raise ModelError(f"{path}: sha256 {digest}, expected {file.sha256}: {advice}")
    return digest


def _local(name: str) -> Path | None:
    """The folder of an embedded model's name or of a path."""
    if name in embedded_names():
        return EMBEDDED / name
    folder = Path(name).expanduser()
    return folder if name and folder.is_dir() else None


def _check_hub_id(name: str, repository: str) -> None:
    """Raise ModelError unless `repository` is named as one on the Hub that may hold one of our folders."""
    if not _HUB_ID.fullmatch(repository):
        raise ModelError(f"model '{name}': no such folder; known are {_known()}; a Hub repository is named owner/name")
    published = {m.name: [source.repository.lower() for source in m.sources] for m in RELEASED.values()}
    if names := [model for model, repositories in published.items() if repository.lower() in repositories]:
        one = " or ".join(f"'{model}'" for model in names)
        raise ModelError(f"model '{name}' is the repository of a released model: its name here is {one}")


def _split(name: str, revision: str | None) -> tuple[str, str | None]:
    """(name, revision) of "name" or "name@revision"; the model's name for the repository that a model is."""
    bare, _, behind = name.partition("@")
    bare = next((model.name for model in RELEASED.values() if model.is_all_of(bare)), bare)
    if behind and revision not in (None, behind):
        raise ModelError(f"model '{name}': the revision '{revision}' is asked for as well; give one")
    return bare, revision or behind or None


def _get_weights(source: HubSource, revision: str, folder: Path, plain: bool) -> tuple[str, dict[str, str]]:
    """Commit of a source and {path in the model's folder: sha256}, once its files are there and verified.

    All files come from the one commit that `revision` is when the first of them is asked for.
    """
    destination = folder / source.folder
    commit = revision
    if plain:
        with explained(f"{source.repository} at '{revision}'"):
            commit = huggingface_hub.HfApi().model_info(source.repository, revision=revision).sha or revision
    files = source.files
    if not files:
        with explained(f"{source.repository} at '{revision}'"):
            info = huggingface_hub.HfApi().model_info(source.repository, revision=revision)
        commit = info.sha or revision
        files = tuple(ReleasedFile(f.rfilename) for f in info.siblings or () if source.wanted(f.rfilename))
    hashes = {}
    for file in files:
        path = _fetch(source.repository, file.path, commit, destination if plain else None)
        digest = check(path, file)
        if not plain:
            commit = _snapshot_commit(path, file.path)
            _link(path, destination / file.path)
        hashes[(destination / file.path).relative_to(folder).as_posix()] = digest
    return commit, hashes


def _download_repository(
    repository: str, to: Path | None, revision: str | None, local_files_only: bool = False
) -> Path:
    """Download a Hub repository that holds one of our folders."""
    try:
        # First, because it tells cheaply whether this is one of ours, and which commit it is.
        first = _fetch(repository, CONFIG, revision or "main", None, local_files_only)
        commit = _snapshot_commit(first, CONFIG)
        with explained(f"{repository} at '{commit}'", local_files_only):
            patterns = ["*.json", "*.safetensors", "README.md"]
            folder = Path(
                huggingface_hub.snapshot_download(
                    repository,
                    revision=commit,
                    allow_patterns=patterns,
                    local_dir=to,
                    local_files_only=local_files_only,
                )
            )
        from gld_ros.weights.layout import WEIGHTS, read_description, recorded  # torch takes seconds to import

        files = recorded(read_description(folder)) or {WEIGHTS: {}}
        if local_files_only and (missing := [file for file in files if not (folder / file).is_file()]):
            raise ModelError(
                f"{folder} has not {', '.join(missing[:4])}: get it with `gld models download {repository}`"
            )
        return folder
    except ModelError as error:
        message = f"model '{repository}' is no folder, no known name ({_known()}), and on the Hub: {error}"
        raise ModelError(message) from error


def _fetch(repository: str, path: str, revision: str, local_dir: Path | None, local_files_only: bool = False) -> Path:
    """One file of a Hub repository, from the cache, the folder or the network."""
    with explained(f"{path} of {repository} at '{revision}'", local_files_only):
        return Path(
            huggingface_hub.hf_hub_download(
                repository, path, revision=revision, local_dir=local_dir, local_files_only=local_files_only
            )
        )


def _snapshot_commit(path: Path, inside: str) -> str:
    """The commit in the path of a cached file: .../snapshots/<commit>/<inside>."""
    return path.parents[inside.count("/")].name


def _get_statistics(model: ReleasedModel, file: ReleasedFile, folder: Path) -> str:
    """Fetch and verify a file of statistics unless it is there; returns its sha256."""
    path = folder / file.path
    if path.is_file() and sha256(path) == file.sha256:
        return check(path, file)
    url = f"{(os.environ.get(STATISTICS_MIRROR) or model.statistics_url).rstrip('/')}/{file.path}"
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{path}: not on this disk, and HF_HUB_OFFLINE forbids to fetch {url}")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content = response.read()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of a mirror that is no URL
        raise ModelError(f"{url}: not to be had ({error}); {STATISTICS_MIRROR} can name a mirror") from error
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise ModelError(
            f"{url}: {len(content):,} bytes with sha256 {hashlib.sha256(content).hexdigest()}, expected {file.size:,} "
            f"bytes with {file.sha256}: broken on the way or not the published file; run the same command again"
        )
    write_bytes(path, content)
    return check(path, file)


def _link(target: Path, link: Path) -> None:
    """A symbolic link, replaced atomically."""
    with replacing(link) as temporary:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target.absolute())
