# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Documents against the sources: links, error codes, names of topics, commands."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from gld_ros.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text()
INTERFACES = (ROOT / "docs" / "interfaces.md").read_text()
BLOCKS = [
    (page, line)
    for page in PAGES
    for block in re.findall(r"^ *```(?:sh|bash)\n(.*?)```", page.read_text(), re.MULTILINE | re.DOTALL)
    for line in re.sub(r"\\\n", " ", block).splitlines()
]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file) if file else page
        assert place.exists(), f"{name(page)}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "interfaces.md"], ids=name)
def test_sentences_are_whole(page):
    """No fragment like "Of the images, pixels". interfaces.md has those of message files."""
    text = re.sub(r"```.*?```|^#.*?$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"(?:^|[.:;] |\n\n|^\* |\| |\*\*)((?:Of|What|Whether) [^.?|]*)(?![^.?|]*\?)", text, re.MULTILINE)
    assert not found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_conflict_was_left(page):
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", page.read_text(), re.MULTILINE)


def test_every_page_can_be_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        todo += [(page.parent / link).resolve() for link in links if (page.parent / link).is_file()]
    assert set(PAGES) <= reached


def test_architecture_has_a_line_for_every_folder():
    page = (ROOT / "docs" / "architecture.md").read_text()
    (table,) = re.findall(r"^\| folder or file .*\n\|---.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    named = {word.rstrip("/") for row in table.splitlines() for word in re.findall(r"`([\w/.]+)`", row.split("|")[1])}
    there = {path.relative_to(ROOT / "gld_ros").parts[0] for path in ROOT.glob("gld_ros/**/*.py")} - {"__init__.py"}
    assert {name.split("/")[0] for name in named} == there


def test_every_error_code_has_cause_and_cure():
    constants = {
        constant
        for file in [*ROOT.glob("srv/*.srv"), *ROOT.glob("action/*.action")]
        for constant in re.findall(r"^uint16 (\w+)=", file.read_text(), re.MULTILINE)
    }
    assert len(constants) >= 10
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TROUBLES, re.MULTILINE))
    assert constants <= set(rows), f"no row for {constants - set(rows)}"
    for constant in constants - {"NONE"}:
        cause, cure = rows[constant].split(" | ")
        assert cause.strip() and cure.strip()


def literals():
    """All literal text of the package's sources, f-strings in pieces."""
    for file in ROOT.glob("gld_ros/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_warning_explained_is_one_that_the_code_gives():
    (table,) = re.findall(r"^\| the log says .*\n\|---.*\n((?:\|.*\n)+)", TROUBLES, re.MULTILINE)
    sources = "\n".join(literals())
    for row in table.splitlines():
        says = row.split("|")[1].strip()
        # Capital words and one-letter ones stand for what the message fills in.
        pieces = re.split(r"'?\b(?:[A-Z]{5}|[A-Z]|WxH)\b'?|\.\.\.|: ", says)
        for piece in (piece.strip(" ,:()'") for piece in pieces):
            assert piece in sources or len(piece) < 4, f"'{piece}' of '{says}' is in no message"


def test_counters_are_those_of_the_node():
    (table,) = re.findall(r"^\| counter .*\n\|---.*\n((?:\|.*\n)+)", TROUBLES, re.MULTILINE)
    explained = {counter for row in table.splitlines() for counter in re.findall(r"`(\w+)`", row.split("|")[1])}
    sources = "\n".join(file.read_text() for file in ROOT.glob("gld_ros/ros/**/*.py"))
    counted = set(re.findall(r"counters\.add\([^)]*?\"(\w+)\"", sources))
    counted |= set(re.findall(r"\"((?:dropped|skipped)_\w+)\"", sources)) - {"dropped_"}
    assert counted <= explained, f"not explained: {counted - explained}"
    assert explained - counted <= {"dropped", "failed_CODE"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_topics_and_services_named_exist(page):
    names = set(re.findall(r"^\| `(~/[\w/]+)`", INTERFACES, re.MULTILINE))
    mentioned = set(re.findall(r"`(~/[\w/]+)`", page.read_text()))
    mentioned |= {f"~/{rest}" for rest in re.findall(r"`/?gld_node/([\w/]+)`", page.read_text())}
    assert mentioned - {"~/x", "~/keys"} <= names | {"~/x"}


def test_make_targets_named_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {(name(page), m) for page, line in BLOCKS for m in re.findall(r"^make ([a-z]+)", line.strip())}
    assert len(used) > 3
    assert {target for _, target in used} <= targets


def gld_commands():
    for page, line in BLOCKS:
        command = line.split("#")[0].strip()
        words = shlex.split(command.replace("...", "").replace("[", "").replace("]", "")) if "|" not in command else []
        if words[:1] == ["gld"]:
            yield pytest.param(words[1:], id=f"{name(page)}: {' '.join(words[:4])}")


@pytest.mark.parametrize("words", [*gld_commands()])
def test_gld_commands_named_exist_with_their_options(words, capsys):
    command = [words[0]]
    for word in words[1:2]:
        if words[0] in ("data", "models", "train", "bench"):
            command.append(word)
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert option in text, f"gld {' '.join(command)} has no {option}"
