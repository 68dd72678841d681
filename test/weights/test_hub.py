# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Getting models: real huggingface_hub against a small Hub on localhost (builders/hub_server.py)."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from builders.hub_server import COMMIT, HubServer
from huggingface_hub import constants

from gld_ros.cli import main
from gld_ros.errors import ModelError
from gld_ros.weights import hub
from gld_ros.weights.released_files import RELEASED, HubSource, ReleasedFile, ReleasedModel

WEIGHTS = {"checkpoints/level1.pt": bytes(range(256)) * 400, "pretrained_models/decoder.pt": b"decoder" * 100}
ENCODER = b"encoder" * 50
STATISTICS = b"statistics" * 10


def published(path: str, data: bytes) -> ReleasedFile:
    return ReleasedFile(path, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def server():
    hub_server = HubServer()
    hub_server.files = {"lab/gld": dict(WEIGHTS), "firm/encoder": {"model.safetensors": ENCODER}}
    hub_server.raw = {"model_stats/x/level0.pt": STATISTICS}
    yield hub_server
    hub_server.stop()


@pytest.fixture(autouse=True)
def hub_of_test(server, tmp_path, monkeypatch):
    """huggingface_hub reads the environment once, when it is imported; so its constants are set instead."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "home/assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def model(server, monkeypatch) -> ReleasedModel:
    """A released model of small files, known as "gld-toy"."""
    second = HubSource(
        "firm/encoder", "own licence", (published("model.safetensors", ENCODER),), COMMIT, "pretrained_models/x"
    )
    first = HubSource("lab/gld", "Apache-2.0", tuple(published(*item) for item in WEIGHTS.items()))
    statistics = (published("model_stats/x/level0.pt", STATISTICS),)
    toy = ReleasedModel("gld-toy", (first, second), statistics, 0.001, server.url + "/raw")
    monkeypatch.setitem(RELEASED, toy.name, toy)
    return toy


@pytest.fixture
def no_waiting(monkeypatch):
    """huggingface_hub waits between its attempts."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def content(folder: Path) -> dict[str, bytes]:
    """Files of a model's folder, without what huggingface_hub keeps for itself."""
    files = [f for f in folder.rglob("*") if f.is_file() and ".cache" not in f.parts and f.name != hub.RECORD]
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


LAYOUT = WEIGHTS | {"pretrained_models/x/model.safetensors": ENCODER, "model_stats/x/level0.pt": STATISTICS}


def test_the_table_says_what_is_published():
    files = {f.path: f for m in RELEASED.values() for s in m.sources for f in s.files}
    files |= {f.path: f for m in RELEASED.values() for f in m.statistics}
    assert files["checkpoints/da3_level1.pt"].sha256.startswith("557e99e5cc9a")
    assert files["pretrained_models/mae_decoder.pt"].size == 1_690_296_850
    assert all(len(f.sha256) == 64 for f in files.values() if f.sha256)
    statistics = [f for m in RELEASED.values() for f in m.statistics]
    assert len(statistics) == 6 and all(f.size and f.sha256 for f in statistics)
    assert all("01ec537b5c4eeaeb2f1281dc0a82075134983481" in m.statistics_url for m in RELEASED.values())
    assert "no commercial use" in RELEASED["gld-vggt"].licences


def test_a_released_model_is_downloaded_once_and_then_needs_no_network(model, server, monkeypatch, capsys):
    folder = hub.resolve("gld-toy")
    assert content(folder) == LAYOUT
    assert "own licence" in capsys.readouterr().err
    record = json.loads((folder / hub.RECORD).read_text())
    assert record["commits"] == {"lab/gld": COMMIT, "firm/encoder": COMMIT}
    assert record["files"]["checkpoints/level1.pt"] == {
        "size": 102400,
        "sha256": hashlib.sha256(WEIGHTS["checkpoints/level1.pt"]).hexdigest(),
    }
    server.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.resolve("gld-toy") == folder == hub.on_disk(model)
    assert not server.requests


def test_what_is_in_the_cache_already_is_used_offline(model, monkeypatch):
    """Weights that other tools cached count: only the folder of links is made anew."""
    folder = hub.resolve("gld-toy")
    (folder / hub.RECORD).unlink()
    (folder / "checkpoints/level1.pt").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.on_disk(model) is None
    assert content(hub.resolve("gld-toy")) == LAYOUT


def test_files_that_vanish_from_the_cache_are_fetched_again(model, server):
    folder = hub.resolve("gld-toy")
    (folder / "checkpoints/level1.pt").resolve().unlink()
    (folder / "model_stats/x/level0.pt").write_bytes(STATISTICS[::-1])
    assert hub.on_disk(model) is None
    server.requests.clear()
    assert content(hub.resolve("gld-toy")) == LAYOUT
    assert len(server.got("level1.pt")) == len(server.got("level0.pt")) == 1 and not server.got("decoder.pt")


@pytest.mark.parametrize("name, revision", [(f"gld-toy@{COMMIT}", None), ("gld-toy", COMMIT)])
def test_a_revision_is_asked_for(model, server, name, revision):
    folder = hub.resolve(name, revision)
    assert content(folder) == LAYOUT and folder != hub.released_folder(model)
    assert not [path for _, path, _ in server.requests if "/main/" in path]
    with pytest.raises(ModelError, match="checkpoints/level1.pt of lab/gld at 'v9': there is no such revision"):
        hub.resolve("gld-toy@v9")


def test_all_files_come_from_one_commit(model, server):
    """ "main" may move between two files: only the first is asked for by that name."""
    hub.resolve("gld-toy")
    asked = [path for _, path, _ in server.requests if path.startswith("/lab/gld/resolve/")]
    assert asked[0] == "/lab/gld/resolve/main/checkpoints/level1.pt"
    assert f"/lab/gld/resolve/{COMMIT}/pretrained_models/decoder.pt" in asked


def test_a_folder_of_plain_files(model, server, tmp_path):
    folder = hub.download("gld-toy", to=tmp_path / "usb stick")
    assert content(folder) == LAYOUT and not [f for f in folder.rglob("*") if f.is_symlink()]
    assert json.loads((folder / hub.RECORD).read_text())["commits"]["lab/gld"] == COMMIT
    server.requests.clear()
    assert hub.download("gld-toy", to=folder) == folder == hub.resolve(str(folder))
    assert not server.got(".pt") and not server.got(".safetensors")


@pytest.mark.parametrize("plain", [False, True])
def test_a_broken_connection_resumes_where_it_stopped(model, server, tmp_path, monkeypatch, no_waiting, plain):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what huggingface_hub writes at once
    server.cut["checkpoints/level1.pt"] = 5000
    folder = hub.download("gld-toy", to=tmp_path / "model" if plain else None)
    assert content(folder) == LAYOUT
    assert server.got("level1.pt") == [None, "bytes=5000-"]


def test_after_an_interruption_the_same_command_finishes(model, server, monkeypatch):
    download = huggingface_hub.hf_hub_download

    def interrupted(*args, **kwargs):
        if args[1] == "pretrained_models/decoder.pt":
            raise KeyboardInterrupt
        return download(*args, **kwargs)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.resolve("gld-toy")
    assert hub.on_disk(model) is None
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert content(hub.resolve("gld-toy")) == LAYOUT
    assert len(server.got("level1.pt")) == 1  # what was complete is not fetched twice


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    "broken, message",
    [
        (b"\1" + WEIGHTS["checkpoints/level1.pt"][1:], "level1.pt: sha256 {found}, expected {expected}: .*delete "),
        (WEIGHTS["checkpoints/level1.pt"][:-9], "level1.pt: 102,391 bytes, expected 102,400: .*delete "),
    ],
)
def test_other_content_than_published_is_refused(model, server, tmp_path, broken, message, plain):
    path, to = "checkpoints/level1.pt", tmp_path / "model" if plain else None
    server.files["lab/gld"][path] = broken
    words = {"found": hashlib.sha256(broken).hexdigest(), "expected": hashlib.sha256(WEIGHTS[path]).hexdigest()}
    with pytest.raises(ModelError, match=message.format(**words)) as refusal:
        hub.download("gld-toy", to)
    assert hub.on_disk(model) is None
    # The advice is good: without the file that is named, and with the right one on the server, it works.
    Path(str(refusal.value).split("delete ")[1].split(" and run")[0]).unlink()
    server.files["lab/gld"][path] = WEIGHTS[path]
    assert content(hub.download("gld-toy", to)) == LAYOUT


def test_a_file_without_known_hash_is_accepted_and_its_hash_recorded(model, server):
    first = replace(model.sources[0], files=(ReleasedFile("checkpoints/level1.pt"),))
    server.files["lab/gld"]["checkpoints/level1.pt"] = b"anything"
    folder = hub.download_released(replace(model, sources=(first,)))
    record = json.loads((folder / hub.RECORD).read_text())["files"]["checkpoints/level1.pt"]
    assert record == {"size": 8, "sha256": hashlib.sha256(b"anything").hexdigest()}


def test_statistics_with_a_flipped_byte_are_refused(model, server):
    server.raw["model_stats/x/level0.pt"] = b"S" + STATISTICS[1:]
    with pytest.raises(ModelError, match="raw/model_stats/x/level0.pt: 100 bytes with sha256 .*, expected 100 bytes"):
        hub.resolve("gld-toy")
    assert not list(hub.released_folder(model).rglob("*.pt"))


def test_statistics_can_come_from_a_mirror(model, server, monkeypatch):
    nowhere = replace(model, statistics_url=server.url + "/nowhere")
    with pytest.raises(ModelError, match="nowhere/model_stats/x/level0.pt: not to be had .*GLD_STATISTICS_URL"):
        hub.download_released(nowhere)
    monkeypatch.setenv("GLD_STATISTICS_URL", "no-url")
    with pytest.raises(ModelError, match="no-url/model_stats/x/level0.pt: not to be had"):
        hub.download_released(nowhere)
    monkeypatch.setenv("GLD_STATISTICS_URL", server.url + "/raw/")
    assert content(hub.download_released(nowhere)) == LAYOUT


def test_missing_files_and_repositories_are_named(model, server):
    del server.files["lab/gld"]["pretrained_models/decoder.pt"]
    with pytest.raises(ModelError, match="pretrained_models/decoder.pt of lab/gld at .*: there is no such file"):
        hub.resolve("gld-toy")
    del server.files["lab/gld"]
    with pytest.raises(ModelError, match="lab/gld at 'main': .* has no such repository"):
        hub.download("gld-toy", to=hub.released_folder(model))


def test_offline_without_the_files(model, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="level0.pt: not on this disk, and HF_HUB_OFFLINE"):
        hub.resolve("gld-toy")
    with pytest.raises(ModelError, match="level1.pt of lab/gld at 'main': not on this disk, and HF_HUB_OFFLINE"):
        hub.download_released(replace(model, statistics=()))


def test_an_unreachable_network_is_not_offline_mode(model, server, no_waiting):
    server.stop()
    with pytest.raises(ModelError, match="level0.pt: not to be had"):
        hub.resolve("gld-toy")
    with pytest.raises(ModelError, match=f"level1.pt of lab/gld at 'main': .*{server.url} cannot be reached"):
        hub.download_released(replace(model, statistics=()))


def test_a_connection_that_always_breaks_is_given_up(model, server, no_waiting):
    server.cut["checkpoints/level1.pt"] = -1000
    with pytest.raises(ModelError, match="level1.pt of lab/gld .*same command again"):
        hub.resolve("gld-toy")
    server.cut.clear()
    assert content(hub.resolve("gld-toy")) == LAYOUT


def test_a_full_disk_is_called_so(model, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(ModelError, match="level1.pt.*the disk is full.*same command again"):
        hub.resolve("gld-toy")


def test_a_hub_repository_of_a_converted_folder(server, monkeypatch, tmp_path):
    ours = {"config.json": b"{}", "level1.safetensors": b"w" * 1000, "stats.safetensors": b"s"}
    server.files["me/own"] = ours | {"training.log": b"long"}
    folder = hub.resolve("me/own")
    assert content(folder) == ours
    assert content(hub.download("me/own", to=tmp_path / "own")) == ours
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.resolve("me/own") == folder == hub.resolve(f"me/own@{COMMIT}")


def test_a_hub_repository_that_is_none_of_ours(server):
    with pytest.raises(ModelError, match="'lab/gld' is no folder.*gld-da3.*config.json of lab/gld.*no such file"):
        hub.resolve("lab/gld")
    with pytest.raises(ModelError, match="'runs/none' is no folder.*gld-da3.*no such repository"):
        hub.resolve("runs/none")
    assert not server.got(".pt")


def test_names(tmp_path):
    assert hub.resolve("mini") == hub.EMBEDDED / "mini"
    assert hub.resolve(str(tmp_path)) == tmp_path
    for unknown in ("nowhere", "/no/such/folder", "../up", ""):
        with pytest.raises(ModelError, match=f"'{unknown}'.*mini, gld-da3, gld-vggt"):
            hub.resolve(unknown)
    with pytest.raises(ModelError, match="nor a revision"):
        hub.resolve("mini", "main")
    with pytest.raises(ModelError, match="'gld-da3@a'.*'b'"):
        hub.resolve("gld-da3@a", "b")


def test_list_and_download_commands(model, capsys, tmp_path):
    assert main(["models", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"mini", "gld-da3", "gld-vggt", "gld-toy"} < set(lines)
    assert " no " in lines["gld-toy"] and "7.6 GB" in lines["gld-da3"] and "no commercial use" in lines["gld-vggt"]
    assert main(["models", "download", "gld-toy", "--revision", COMMIT]) == 0
    assert content(Path(capsys.readouterr().out.strip())) == LAYOUT
    assert main(["models", "download", "gld-toy", "--to", str(tmp_path / "to")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "to")
    assert main(["models", "download", "gld-toy"]) == main(["models", "list"]) == 0
    assert str(hub.released_folder(model)) in capsys.readouterr().out.splitlines()[-1]
    assert main(["models", "download", "gld-toy@v9"]) == 1
    assert "no such revision" in capsys.readouterr().err


def test_verify_takes_what_is_on_the_disk(model, server, capsys):
    assert main(["models", "verify", "gld-toy"]) == 1
    assert "'gld-toy' is not on this disk" in capsys.readouterr().err
    assert not server.requests
    folder = hub.download("gld-toy")
    asked = len(server.requests)
    (folder / "pretrained_models/x/model.safetensors").unlink()
    assert hub.as_it_is("gld-toy") == folder
    assert len(server.requests) == asked


def test_the_environment_of_huggingface_counts(server, tmp_path):
    """In a process of its own: HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE."""
    server.files["me/own"] = {"config.json": b"{}"}
    env = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "own home")}
    code = "import sys; from gld_ros.cli import main; sys.exit(main(['models', 'download', sys.argv[1]]))"

    def download(name: str, **more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, name]
        return subprocess.run(command, env=env | more, capture_output=True, text=True, timeout=100)

    first = download("me/own")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(str(tmp_path / "own home/hub/models--me--own/snapshots"))
    server.stop()
    assert download("me/own", HF_HUB_OFFLINE="1").stdout == first.stdout
    assert "HF_HUB_OFFLINE forbids" in download("me/other", HF_HUB_OFFLINE="1").stderr


def test_local_files_only_downloads_nothing(model, server):
    with pytest.raises(ModelError, match="'gld-toy' is not on this disk; get it with `gld models download gld-toy`"):
        hub.resolve("gld-toy", local_files_only=True)
    with pytest.raises(ModelError, match="me/own.*not on this disk, and nothing may be downloaded"):
        hub.resolve("me/own", local_files_only=True)
    assert not server.requests
    folder = hub.resolve("gld-toy")
    assert hub.resolve("gld-toy", local_files_only=True) == folder


def test_half_of_a_repository_is_not_there(server):
    """Only config.json is cached, as after a look at the page."""
    config = json.dumps({"model": {}, "files": {"level1.safetensors": {"sha256": "0", "size": 1}}})
    server.files["me/own"] = {"config.json": config.encode(), "level1.safetensors": b"w"}
    huggingface_hub.hf_hub_download("me/own", "config.json")
    with pytest.raises(ModelError, match="has not level1.safetensors: get it with `gld models download me/own`"):
        hub.resolve("me/own", local_files_only=True)
    folder = hub.download("me/own")
    assert hub.resolve("me/own", local_files_only=True) == folder


def test_the_repository_of_a_released_model_points_to_its_name(model, server):
    for repository in ("SeonghuJeon/GLD", "seonghujeon/gld@main"):
        for local in (True, False):
            with pytest.raises(ModelError, match="its name here is 'gld-da3' or 'gld-vggt'"):
                hub.resolve(repository, local_files_only=local)
    with pytest.raises(ModelError, match="'lab/gld' is the repository of a released model: its name here is 'gld-toy'"):
        hub.download("lab/gld")
    assert not server.requests


def test_the_statistics_of_a_revision_are_in_its_folder(model):
    folder = hub.resolve(f"gld-toy@{COMMIT}")
    assert folder.name == COMMIT and not (folder / "model_stats/x/level0.pt").is_symlink()
    assert content(folder) == LAYOUT and not hub.released_folder(model).exists()
