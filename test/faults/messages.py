# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for ROS messages of any type: wholly random ones, and healthy ones with random fields."""

import copy
import importlib
import re

from hypothesis import strategies as st

INTEGERS = {f"{sign}int{bits}": (bits, sign == "") for sign in ("", "u") for bits in (8, 16, 32, 64)}
LONGEST = 12  # elements of a random list


def message_class(name):
    """Of "package/Type"."""
    package, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def field(kind):
    """Values of a field of the type that `get_fields_and_field_types` names."""
    if fixed := re.fullmatch(r"(.+)\[(\d+)\]", kind):
        count = int(fixed[2])
        return st.lists(field(fixed[1]), min_size=count, max_size=count)
    if listed := re.fullmatch(r"sequence<(.+?)(?:, (\d+))?>", kind):
        if listed[1] in ("uint8", "octet"):
            return st.binary(max_size=64).map(list if listed[1] == "uint8" else lambda b: [bytes([x]) for x in b])
        return st.lists(field(listed[1]), max_size=min(LONGEST, int(listed[2] or LONGEST)))
    if kind in INTEGERS:
        bits, signed = INTEGERS[kind]
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return st.one_of(st.integers(low, high), st.integers(max(low, -2), 130 if bits > 8 else high))
    if kind in ("float", "double"):
        return st.floats(width=32 if kind == "float" else 64)
    if kind == "boolean":
        return st.booleans()
    if kind == "octet":
        return st.binary(min_size=1, max_size=1)
    if kind.startswith("string"):
        return st.one_of(
            st.text(max_size=8), st.sampled_from(["", "map", "camera", "rgb8", "mono16", "plumb_bob", "/"])
        )
    return message(message_class(kind))


def message(cls):
    """Wholly random ones."""
    return st.deferred(
        lambda: st.builds(cls, **{name: field(kind) for name, kind in cls.get_fields_and_field_types().items()})
    )


def leaves(cls, depth=3):
    """(path, type) of all fields, those of nested messages too."""
    found = []
    for name, kind in cls.get_fields_and_field_types().items():
        found.append(((name,), kind))
        if re.fullmatch(r"\w+/\w+", kind) and depth:
            found += [((name, *path), inner) for path, inner in leaves(message_class(kind), depth - 1)]
    return found


def changes(cls):
    """One to three fields with new values, for `changed`."""
    if not leaves(cls):
        return st.just([])
    one = st.sampled_from(leaves(cls)).flatmap(lambda leaf: st.tuples(st.just(leaf[0]), field(leaf[1])))
    return st.lists(one, min_size=1, max_size=3)


def changed(healthy, new):
    """A copy with the fields `new`."""
    found = copy.deepcopy(healthy)
    for (*parents, last), value in new:
        target = found
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return found
