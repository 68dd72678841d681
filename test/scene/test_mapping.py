# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map with two layers: what is observed stays, what is generated only adds, for all orders of what comes in."""

from __future__ import annotations

import dataclasses
import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gld_ros.data.rooms import camera_pose
from gld_ros.errors import FileError, InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.scene.map.config import BACKENDS, MapConfig
from gld_ros.scene.map.visibility import observation, seen_free
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.scene.map.voxels import REACH, VoxelGrid, VoxelTable, pack, unpack
from gld_ros.scene.ply import read_ply
from gld_ros.views import Scale, View

SECOND = 1_000_000_000
W, H = 16, 12
CONFIG = MapConfig(voxel_size=0.1, max_depth=3.0, radius=20.0, max_voxels=100_000, free_margin=0.0, confirmations=0)
HEIGHTS = (-5.0, 5.0)


def has_open3d() -> bool:
    try:
        import open3d  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


needs_open3d = pytest.mark.skipif(not has_open3d(), reason="Open3D cannot be imported")


@pytest.fixture(params=[pytest.param(b, marks=needs_open3d if b == "open3d" else ()) for b in BACKENDS])
def backend(request) -> str:
    return request.param


@pytest.fixture
def made(backend) -> VoxelMap:
    """An empty map."""
    return VoxelMap(dataclasses.replace(CONFIG, backend=backend))


def camera(yaw: float = 0.0, position=(0.0, 0.0, 0.0)) -> Camera:
    """Looks along the map's x axis at yaw 0; z of the map is up."""
    return Camera(intrinsics(12.0, 12.0, W / 2, H / 2), camera_pose(np.array(position), yaw, 0.0), W, H)


def pictures(depth, confidence=0.9, color=100):
    """depth, image and confidence of one size."""
    depth = np.broadcast_to(np.asarray(depth, np.float32), (H, W)).copy()
    return depth, np.full((H, W, 3), color, np.uint8), np.full((H, W), confidence, np.float32)


def view(depth, camera, confidence=0.9, stamp=SECOND, generated=True, color=200) -> View:
    depth, image, confidence = pictures(depth, confidence, color)
    generated = np.broadcast_to(generated, (H, W)).copy()
    return View(camera, image, depth, confidence, generated, Scale(1, "stereo", 0), "test", 0, (stamp,))


def observe(made: VoxelMap, depth, camera, stamp=SECOND, **more) -> None:
    made.integrate_observed(*pictures(depth), camera, stamp, **more)


def cells(made: VoxelMap) -> dict[int, bool]:
    keys, occupied = made._layers[0].cells()
    return dict(zip(keys.tolist(), occupied.tolist(), strict=True))


def assert_same(a, b) -> None:
    """Two dataclasses of arrays are equal to the last bit."""
    for field in dataclasses.fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def in_order(points):
    """The points sorted by place: Open3D's table keeps no order of its own, not even from one equal map to the next."""
    order = np.lexsort(points.xyz.T)
    return type(points)(**{field.name: getattr(points, field.name)[order] for field in dataclasses.fields(points)})


# ---- the parts


def test_keys_are_sorted_by_column_and_round_trip():
    indices = np.random.default_rng(0).integers(-REACH, REACH, (100, 3))
    np.testing.assert_array_equal(unpack(pack(indices)), indices)
    order = np.lexsort(indices.T[::-1])
    assert (np.diff(pack(indices[order])) >= 0).all()


def test_a_table_finds_inserts_removes_and_evicts_the_oldest():
    table = VoxelTable(np.dtype([("value", "f4"), ("stamp", "i8")]))
    for keys in ([5, 9], [1, 5, 7, 12]):
        places = table.places(np.array(keys))
        table.rows["value"][places] = keys
        table.rows["stamp"][places] += 1
    np.testing.assert_array_equal(table.keys, [1, 5, 7, 9, 12])
    np.testing.assert_array_equal(table.rows["value"], table.keys)
    assert table.remove(np.array([2, 7])) == 1
    table.rows["stamp"] = [4, 1, 2, 3]
    assert table.evict(2) == 2 and table.keys.tolist() == [1, 12]


def test_free_space_ends_before_surfaces_and_spares_edges():
    depth, _, confidence = pictures(2.0)
    depth[:, W // 2 :] = 1.0
    depth[0, 0] = np.nan
    grid, eye = VoxelGrid(0.1, np.zeros(3)), camera()
    seen = observation(*pictures(depth), eye, 0, dataclasses.replace(CONFIG, max_depth=5.0), True)
    keys = seen_free(seen.free, eye, grid)
    assert (np.diff(keys) > 0).all()
    local = (grid.centers(keys) - eye.center) @ eye.c2w[:3, :3]
    u, v = (np.floor(local[:, i] / local[:, 2] * eye.K[i, i] + eye.K[i, 2]).astype(int) for i in (0, 1))
    padded = np.pad(np.nan_to_num(depth, nan=0), 1, constant_values=np.inf)
    around = np.min([padded[v + dy, u + dx] for dx in range(3) for dy in range(3)], axis=0)
    assert (local[:, 2] + 0.0866 <= around + 1e-5).all()
    # All such voxels are found: every voxel of a box around the frustum, tested one by one.
    every = np.stack(np.meshgrid(*[np.arange(-25, 25)] * 3, indexing="ij"), -1).reshape(-1, 3)
    local = (grid.centers(pack(every)) - eye.center) @ eye.c2w[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = (np.floor(local[:, i] / local[:, 2] * eye.K[i, i] + eye.K[i, 2]) for i in (0, 1))
    inside = (local[:, 2] > 0) & (u >= 0) & (u < W) & (v >= 0) & (v < H)
    u, v = u[inside].astype(int), v[inside].astype(int)
    around = np.min([padded[v + dy, u + dx] for dx in range(3) for dy in range(3)], axis=0)
    expected = pack(every[inside][local[inside, 2] + 0.0866 <= around])
    assert len(np.setxor1d(keys, expected)) <= 0.01 * len(expected)  # float32 at the borders


# ---- both backends


def test_a_wall_is_where_it_was_seen_and_the_space_before_it_is_free(made):
    for i in range(3):
        observe(made, 1.53, camera(), stamp=(i + 1) * SECOND)
    points = made.points("observed")
    assert len(points.xyz) > 100
    np.testing.assert_allclose(points.xyz[:, 0], 1.53, atol=0.01)
    np.testing.assert_array_equal(points.rgb, 100)
    np.testing.assert_allclose(points.confidence, 0.9)
    np.testing.assert_array_equal(points.stamp, 3 * SECOND)
    grid = made._layers[0].grid
    keys, occupied = made._layers[0].cells()
    x = grid.centers(keys)[:, 0]
    assert (np.abs(x[occupied] - 1.53) <= 0.0867).all() and (x[~occupied] < 1.53).all()
    assert occupied.sum() > 100 and (~occupied).sum() > 1000


def test_an_obstacle_appears_at_once_and_goes_after_several_looks(made):

    def occupied_at(x):
        key = int(made._layers[0].grid.keys(np.array([[x, 0.05, 0.05]]))[0])
        return cells(made).get(key)

    for _ in range(10):
        observe(made, 2.53, camera())
    assert occupied_at(1.53) is False
    observe(made, 1.53, camera())
    assert occupied_at(1.53) is True
    looks = 0
    while occupied_at(1.53):
        observe(made, 2.53, camera())
        looks += 1
    assert 2 <= looks <= 10


def test_pixels_of_a_camera_that_was_never_there_clear_nothing(made):
    observe(made, 1.03, camera(), carve=True)
    before = cells(made)
    made.integrate_view(view(2.53, camera(), generated=False))
    after = cells(made)
    assert before.items() <= after.items() and len(after) > len(before)
    assert all(after[key] for key in after.keys() - before.keys())


def test_an_observation_removes_what_was_generated_there(made):
    made.integrate_generated(view(1.0, camera()))
    before = made.points("generated")
    assert len(before.xyz) > 50 and made.occupancy(*HEIGHTS).data.max() == 90
    np.testing.assert_allclose(before.confidence, 0.9)
    np.testing.assert_array_equal(before.stamp, SECOND)
    observe(made, 2.0, camera())  # the space was free
    assert made.counts["replaced"] > 0.5 * len(before.xyz)  # the rim of the picture has too few neighbours
    made.integrate_generated(view(1.0, camera()))
    known = made._layers[0].known(made._layers[1].keys)
    assert not known.any()


def test_memory_is_bounded_and_the_oldest_goes_first(backend):
    limit = 20_000
    made = VoxelMap(dataclasses.replace(CONFIG, backend=backend, max_voxels=limit, radius=1e3))
    for i in range(12):
        observe(made, 2.5, camera(0.5 * i, (2.0 * i, 0, 0)), stamp=i * SECOND)
        made.integrate_generated(view(1.0, camera(0.5 * i + 3, (2.0 * i, 0, 0)), stamp=i * SECOND))
        assert max(made.sizes().values()) <= limit
    assert made.counts["evicted"] > 0
    newest = camera(0.5 * 11, (22.0, 0, 0))
    made.integrate_observed(*pictures(2.5), newest, 12 * SECOND)
    assert made.points("observed").stamp.max() == 12 * SECOND
    assert made.points("observed").stamp.min() > 0


def test_both_layers_end_at_the_radius(backend):
    made = VoxelMap(dataclasses.replace(CONFIG, backend=backend, radius=5.0))
    observe(made, 2.0, camera())
    made.integrate_generated(view(2.0, camera(np.pi)))
    versions = dict(made.versions)
    made.forget(np.zeros(3), SECOND)
    assert len(made.points("observed").xyz) and len(made.points("generated").xyz)
    made.forget(np.array([9.0, 0, 0]), SECOND)
    assert made.sizes() == {"observed": 0, "generated": 0}
    assert made.counts["expired"] > 0 and all(made.versions[layer] > versions[layer] for layer in versions)


def test_save_and_load(backend, tmp_path):
    config = dataclasses.replace(CONFIG, backend=backend)
    made = VoxelMap(config)
    for yaw in (0.0, 1.0):
        observe(made, 2.0 + np.linspace(0, 0.5, W), camera(yaw, (500_000.25, 4_000_000.5, 0)))
    made.integrate_generated(view(1.0, camera(2.5, (500_000.25, 4_000_000.5, 0))))
    files = made.save(tmp_path / "maps" / "room")
    assert [f.name for f in files] == ["room.npz", "room.ply"]
    assert sorted(f.name for f in (tmp_path / "maps").iterdir()) == ["room.npz", "room.ply"]
    cloud = read_ply(files[1])
    assert (~cloud.generated).sum() == len(made.points("observed").xyz)
    assert cloud.generated.sum() == len(made.points("generated").xyz)
    loaded = VoxelMap(config)
    loaded.load(tmp_path / "maps" / "room")
    assert cells(loaded) == cells(made)
    assert_same(loaded.points("generated"), made.points("generated"))
    assert_same(loaded.occupancy(*HEIGHTS), made.occupancy(*HEIGHTS))
    a, b = (np.sort(m.points("observed").xyz, axis=0) for m in (loaded, made))
    np.testing.assert_allclose(a, b, atol=1e-6)
    observe(loaded, 2.0, camera(0, (500_000.25, 4_000_000.5, 0)))  # and it goes on


def test_clearing_takes_more_confidence_than_marking_and_ends_before_the_surface(backend):
    config = dataclasses.replace(CONFIG, backend=backend, min_confidence=0.3, free_confidence=0.7, free_margin=0.2)

    def cells_along(confidence):
        made = VoxelMap(config)
        made.integrate_observed(*pictures(2.03, confidence), camera(), SECOND)
        keys, occupied = made._layers[0].cells()
        x = made._layers[0].grid.centers(keys)[:, 0]
        return x[occupied], x[~occupied]

    assert [len(x) for x in cells_along(0.2)] == [0, 0]
    occupied, free = cells_along(0.5)
    assert len(occupied) > 50 and not len(free)
    occupied, free = cells_along(0.8)
    assert len(occupied) > 50 and len(free) > 50 and 1.4 < free.max() < 0.8 * 2.03


def test_a_wall_seen_from_behind_stays(made):
    observe(made, 2.03, camera())
    before = {key for key, occupied in cells(made).items() if occupied}
    for _ in range(10):
        observe(made, 1.67, camera(np.pi, (4.0, 0, 0)))  # its other side, at x = 2.33
    after = {key for key, occupied in cells(made).items() if occupied}
    assert len(before) > 50 and before <= after


# ---- the rules, for every order


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["observe", "mark", "generate", "generate", "view", "forget"]),
        st.integers(0, 3),  # where the camera stands
        st.integers(0, 7),  # where it looks
        st.integers(0, 2**32 - 1),  # seed of the picture
        st.integers(0, 40),  # seconds since the last
    ),
    min_size=2,
    max_size=14,
)


def random_view(place: int, look: int, seed: int, stamp: int) -> View:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.3, 3.5) + rng.uniform(-0.3, 0.3, (H, W))
    depth[rng.random((H, W)) < 0.1] = np.nan
    confidence = rng.random((H, W)) if seed % 2 else np.full((H, W), 0.8)
    eye = camera(look * np.pi / 4, (0.7 * (place % 2), 0.7 * (place // 2), 0))
    v = view(depth, eye, stamp=stamp, generated=rng.random((H, W)) < 0.5)
    return dataclasses.replace(v, confidence=confidence.astype(np.float32))


def test_no_order_lets_generated_data_change_or_clear_what_was_observed(backend):
    config = dataclasses.replace(CONFIG, backend=backend, voxel_size=0.2, radius=3.0, max_voxels=100_000)

    @settings(
        max_examples=150 if backend == "voxel_hash" else 15,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(OPERATIONS)
    def check(operations):
        both, only_observed = VoxelMap(config), VoxelMap(config)
        # The grid begins at the first camera, whoever it belongs to.
        for made in (both, only_observed):
            made.integrate_generated(view(np.nan, camera()))
        now = SECOND
        for kind, place, look, seed, wait in operations:
            now += wait * SECOND
            v = random_view(place, look, seed, now)
            seen = np.where(v.generated, np.nan, v.depth)
            before_cells, before_grid = cells(both), both.occupancy(*HEIGHTS)
            before_made = faded(both)
            if kind in ("observe", "mark", "view"):
                for made in (both, only_observed):
                    made.integrate_observed(seen, v.image, v.confidence, v.camera, now, carve=kind == "observe")
                before_cells, before_grid = cells(both), both.occupancy(*HEIGHTS)
                before_made = faded(both)
            if kind in ("generate", "view"):
                both._tick(now)  # fading is not the view's doing
                before_grid, before_made = both.occupancy(*HEIGHTS), faded(both)
                both.integrate_generated(v)
                assert cells(both) == before_cells
                assert_only_higher(before_grid, both.occupancy(*HEIGHTS))
                after = faded(both)
                assert all(after.get(key, 0) >= confidence for key, confidence in before_made.items())
            if kind == "forget":
                for made in (both, only_observed):
                    made.forget(v.camera.center, now)
            assert not both._layers[0].known(both._layers[1].keys).any()
            assert cells(both) == cells(only_observed)
        assert_same(in_order(both.points("observed")), in_order(only_observed.points("observed")))
        assert_only_higher(only_observed.occupancy(*HEIGHTS), both.occupancy(*HEIGHTS))

    check()


def faded(made: VoxelMap) -> dict[int, float]:
    layer = made._layers[1]
    return dict(zip(layer.keys.tolist(), layer.confidence().tolist(), strict=True))


def costs(grid) -> dict[tuple[int, int], int]:
    """Known cells by their place in the map."""
    rows, columns = np.nonzero(grid.data >= 0)
    x, y = (np.rint(grid.origin / grid.resolution)).astype(int)
    return {(x + c, y + r): int(grid.data[r, c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}


def assert_only_higher(before, after) -> None:
    """No cost fell, nothing became unknown, and what became known is no free space."""
    before, after = costs(before), costs(after)
    assert all(after.get(cell, -2) >= cost for cell, cost in before.items())
    assert all(after[cell] > 0 for cell in after.keys() - before.keys())


# ---- time, heights, bad input


def test_generated_points_fade_and_expire():
    made = VoxelMap(dataclasses.replace(CONFIG, generated_lifetime=10.0))
    made.integrate_generated(view(1.0, camera(), confidence=0.8, stamp=100 * SECOND))
    made.forget(np.zeros(3), 105 * SECOND)
    np.testing.assert_allclose(made.points("generated").confidence, 0.4)
    assert made.occupancy(*HEIGHTS).data.max() == 40
    made.integrate_generated(view(1.0, camera(), confidence=0.3, stamp=105 * SECOND))  # less sure than what is there
    np.testing.assert_array_equal(made.points("generated").stamp, 100 * SECOND)
    made.integrate_generated(view(1.0, camera(), confidence=0.5, stamp=105 * SECOND))
    np.testing.assert_array_equal(made.points("generated").stamp, 105 * SECOND)
    made.forget(np.zeros(3), 115 * SECOND)
    assert made.sizes()["generated"] == 0
    made.integrate_generated(view(1.0, camera(), stamp=115 * SECOND))
    made.forget(np.zeros(3), 20 * SECOND)  # the clock went back
    assert made.sizes()["generated"] == 0


def test_only_the_layer_that_changed_has_a_new_version():
    made = VoxelMap(CONFIG)

    def changed(act) -> set[str]:
        before = dict(made.versions)
        act()
        return {layer for layer in before if made.versions[layer] != before[layer]}

    assert changed(lambda: observe(made, 2.0, camera())) == {"observed"}
    assert changed(lambda: made.forget(np.zeros(3), SECOND)) == set()
    assert changed(lambda: made.integrate_generated(view(2.0, camera(np.pi)))) == {"generated"}
    assert changed(lambda: made.forget(np.zeros(3), 2 * SECOND)) == {"generated"}  # it fades
    assert changed(lambda: observe(made, 2.5, camera(np.pi))) == {"observed", "generated"}
    assert changed(made.clear) == {"observed", "generated"}


def test_the_grid_shows_what_lies_between_the_heights():
    made = VoxelMap(CONFIG)
    observe(made, 1.53, camera(position=(0, 0, 1.0)))
    low, high = made.occupancy(0.9, 1.1), made.occupancy(3.0, 4.0)
    assert high.data.tolist() == VoxelMap(CONFIG).occupancy(*HEIGHTS).data.tolist() == [[-1]]
    x = np.floor((1.53 - low.origin[0]) / 0.1).astype(int)
    assert (low.data[:, x] == 100).any()
    middle = int((0.05 - low.origin[1]) / 0.1)
    near = int((0.7 - low.origin[0]) / 0.1)
    assert (low.data[middle, near : x - 1] == 0).all() and (low.data >= -1).all()
    # A column of which only a part was seen free is unknown.
    assert (made.occupancy(-9, 9).data[middle, near:x] == -1).all()
    with pytest.raises(InvalidRequest, match="heights from 1 to 1 m"):
        made.occupancy(1, 1)


@pytest.mark.parametrize(
    "break_file, reason",
    [
        (lambda data: b"", "truncated or corrupted"),
        (lambda data: data[:-100], "truncated or corrupted"),
        (lambda data: data[: len(data) // 2], "truncated or corrupted"),
        (lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], "truncated or corrupted.*CRC"),
        (lambda data: b"not a zip file", "truncated or corrupted"),
    ],
)
def test_a_broken_file_is_refused_and_the_map_stays(tmp_path, break_file, reason):
    made = VoxelMap(CONFIG)
    observe(made, 2.0, camera())
    made.save(tmp_path / "map")
    file = tmp_path / "map.npz"
    file.write_bytes(break_file(file.read_bytes()))
    observe(made, 2.0, camera(1.0))
    before, versions = cells(made), dict(made.versions)
    with pytest.raises(FileError, match=reason):
        made.load(tmp_path / "map")
    assert cells(made) == before and made.versions == versions


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"format": np.array("other")}, "format is other, expected gld_ros map 1"),
        ({"voxel_size": np.array(0.2)}, "voxel_size is 0.2, expected 0.1"),
        ({"backend": np.array("open3d")}, "backend is open3d, expected voxel_hash"),
        ({"origin": np.array([0, np.nan, 0])}, "origin"),
        ({"observed_log_odds": np.zeros(3, "f4")}, r"observed_log_odds is float32\[3\], expected float32\[\d+\]"),
        ({"observed_weight": lambda a: a * np.nan}, "observed_weight holds numbers that are not finite"),
        ({"observed_keys": lambda a: a[::-1]}, "observed_keys are not in order"),
        ({"observed_stamp": np.array([{}], dtype=object)}, "allow_pickle"),
        ({"padding": np.zeros(20_000_000, np.uint8)}, "bytes, more than the"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, changes, reason):
    made = VoxelMap(CONFIG)
    observe(made, 2.0, camera())
    made.save(tmp_path / "map")
    with np.load(tmp_path / "map.npz") as file:
        arrays = dict(file)
    for name, change in changes.items():
        arrays[name] = change(arrays[name]) if callable(change) else change
    np.savez(tmp_path / "map.npz", **arrays)
    with pytest.raises(InvalidRequest if "voxel_size" in changes or "backend" in changes else FileError, match=reason):
        made.load(tmp_path / "map")


def test_a_file_cannot_put_generated_points_into_observed_voxels(tmp_path):
    made = VoxelMap(CONFIG)
    observe(made, 2.0, camera())
    made.integrate_generated(view(2.0, camera(np.pi)))
    made.save(tmp_path / "map")
    with np.load(tmp_path / "map.npz") as file:
        arrays = dict(file)
    arrays["generated_keys"] = arrays["observed_keys"][: len(arrays["generated_keys"])]
    np.savez(tmp_path / "map.npz", **arrays)
    with pytest.raises(FileError, match="generated points in observed voxels"):
        VoxelMap(CONFIG).load(tmp_path / "map")


def test_saving_replaces_the_file_whole_or_not_at_all(tmp_path, monkeypatch):
    made = VoxelMap(CONFIG)
    with pytest.raises(InvalidRequest, match="the map is empty"):
        made.save(tmp_path / "map")
    observe(made, 2.0, camera())
    files = made.save(tmp_path / "map")
    before = [file.read_bytes() for file in files]
    observe(made, 2.0, camera(1.0))
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".npz"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="cannot be written.*No space left"):
        made.save(tmp_path / "map")
    assert [file.read_bytes() for file in files] == before
    assert zipfile.is_zipfile(tmp_path / "map.npz")


def test_bad_input_is_named():
    made = VoxelMap(CONFIG)
    depth, image, confidence = pictures(1.0)
    with pytest.raises(InvalidRequest, match=r"depth has the shape \(12, 8\), expected \(12, 16\)"):
        made.integrate_observed(depth[:, :8], image, confidence, camera())
    with pytest.raises(InvalidRequest, match="expected one of observed, generated"):
        made.points("imagined")
    with pytest.raises(InvalidRequest, match="voxel_size is 0"):
        MapConfig(voxel_size=0)
    with pytest.raises(InvalidRequest, match="expected one of voxel_hash, open3d"):
        MapConfig(backend="octomap")
    observe(made, 1.0, camera())
    with pytest.raises(InvalidRequest, match="from the map's origin"):
        observe(made, 1.0, camera(position=(2e5, 0, 0)))
    assert len(made.points("observed").xyz)


def test_open3d_is_asked_for_by_name_and_its_absence_explained(monkeypatch):
    import sys

    VoxelMap(CONFIG)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(InvalidRequest, match="needs Open3D, which cannot be imported.*libusb.*voxel_hash"):
        VoxelMap(MapConfig(backend="open3d"))
