# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `gld` command itself: help, errors of usage, lists of values, tables."""

import json
from dataclasses import fields

import pytest
import typer

from gld_ros.cli import bench, main, train
from gld_ros.cli.options import image_size, progress, show, track, view_counts
from gld_ros.training.mini import MiniTraining


def test_help_names_every_command_and_group(capsys):
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    for name in (
        "synthesize",
        "batch",
        "eval",
        "calibrate-confidence",
        "reproduce",
        "dashboard",
        "models",
        "data",
        "train",
    ):
        assert name in text
    assert main([]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthesize", "room", "--sorces", "1"], "--sources"),
        (["sythesize"], "synthesize"),
        (["synthesize", "room", "--sources", "a", "--targets", "1", "--out", "x"], "separated by commas"),
        (["synthesize", "room", "--sources", "1", "--targets", "1"], "--out"),
        (["bench", "latency", "--size", "0x4"], "above 0"),
        (["bench", "latency", "--views", "two"], "SOURCES+TARGETS"),
        (["bench", "latency", "--views"], "--views"),
        (["data", "rooms", "--out", "x", "--size", "big"], "WIDTHxHEIGHT"),
        (["models", "convert", "mini", "x", "--dtype", "int3"], "bfloat16"),
    ],
)
def test_errors_of_usage_are_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_named_error_is_one_line_on_stderr(capsys):
    assert main(["synthesize", "/nowhere" * 40, "--sources", "0", "--targets", "1", "--out", "x"]) == 1
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("gld: INVALID_REQUEST: /nowhere") and errors.count("\n") == 1


def test_options_take_several_values():
    command = typer.main.get_command(bench.app).commands["latency"]
    words = "mini --views 2+1 4+2 --views 1+1 --compile --preset exact fast --repeat 3"
    given = command.make_context("latency", words.split()).params
    assert list(given["views"]) == [(2, 1), (4, 2), (1, 1)] and list(given["preset"]) == ["exact", "fast"]
    assert list(given["models"]) == ["mini"] and given["compiled"] and given["repeat"] == 3
    assert image_size("504x280") == (280, 504) and view_counts("2+1") == (2, 1)


def test_json_is_pure(capsys):
    assert main(["models", "info", "mini", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mini"


def test_tables_do_not_wrap_where_there_is_no_terminal(capsys):
    show(["name", ">size"], [("x" * 200, "[bold]"), ("y", "12")])
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split() == ["name", "size"] and second.split() == ["x" * 200, "[bold]"] and third.endswith("12")


def test_progress_is_silent_where_there_is_no_terminal(capsys):
    with progress("work", 2) as update:
        update(1, description="more")
    assert list(track(range(3), "numbers")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_every_budget_of_mini_is_an_option():
    command = typer.main.get_command(train.app).commands["mini"]
    assert {field.name for field in fields(MiniTraining)} - {"seed"} <= {option.name for option in command.params}
