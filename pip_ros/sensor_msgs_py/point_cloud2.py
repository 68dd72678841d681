# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 messages to and from numpy structured arrays.

The behaviour of each function is stated by test/conformance/test_point_cloud2.py.
"""

import array
import sys
from collections.abc import Iterable

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_DATATYPES: dict[int, np.dtype] = {
    PointField.INT8: np.dtype("i1"),
    PointField.UINT8: np.dtype("u1"),
    PointField.INT16: np.dtype("i2"),
    PointField.UINT16: np.dtype("u2"),
    PointField.INT32: np.dtype("i4"),
    PointField.UINT32: np.dtype("u4"),
    PointField.FLOAT32: np.dtype("f4"),
    PointField.FLOAT64: np.dtype("f8"),
}
DUMMY_FIELD_PREFIX = "unnamed_field"


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The structured type of one point: every field at its offset, `point_step` bytes long if given."""
    names, formats, offsets = [], [], []
    for index, field in enumerate(fields):
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{index}"
        for part in range(field.count):
            names.append(name if field.count == 1 else f"{name}_{part}")
            formats.append(_DATATYPES[field.datatype])
            offsets.append(field.offset + part * _DATATYPES[field.datatype].itemsize)
    size = max((offset + dtype.itemsize for offset, dtype in zip(offsets, formats, strict=True)), default=0)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": point_step or size})


def create_cloud(
    header: Header, fields: Iterable[PointField], points: Iterable, step: int | None = None
) -> PointCloud2:
    """A cloud of `points`: a structured array of the fields' type, an (N, F) array, or tuples of F numbers.

    A structured (H, W) array gives an organised cloud. `step`: bytes of one point, with padding; else the type's.
    """
    fields = list(fields)
    if isinstance(points, np.ndarray) and points.dtype.names:
        if points.dtype != dtype_from_fields(fields, points.dtype.itemsize):
            raise AssertionError("PointFields and structured NumPy array dtype do not match for all fields!")
    else:
        rows = points if isinstance(points, np.ndarray) else np.array(list(points))
        dtype = dtype_from_fields(fields, step)
        structured = np.zeros(rows.shape[:-1] if rows.size else 0, dtype)
        for column, name in enumerate(dtype.names or ()):
            structured[name] = rows[..., column] if rows.size else 0
        points = structured
    height, width = (1, *points.shape) if points.ndim == 1 else points.shape
    cloud = PointCloud2(header=header, height=height, width=width, fields=fields, is_dense=False)
    cloud.is_bigendian = sys.byteorder != "little"
    cloud.point_step = points.dtype.itemsize
    cloud.row_step = cloud.point_step * width
    cloud.data = array.array("B")
    cloud.data.frombytes(np.ascontiguousarray(points).reshape(-1).view(np.uint8))  # one copy, tobytes() is another
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable, step: int | None = None) -> PointCloud2:
    """A cloud of (N, 3) points with the float32 fields x, y, z."""
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    return create_cloud(header, fields, points, step)


def read_points(cloud: PointCloud2, field_names: list[str] | None = None, skip_nans: bool = False) -> np.ndarray:
    """The points as one structured array (N,), of `field_names` only if given.

    skip_nans: leave out points with NaN in a field that was asked for.
    """
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    rows = np.frombuffer(cloud.data, np.uint8, cloud.row_step * cloud.height).reshape(cloud.height, cloud.row_step)
    points = np.ascontiguousarray(rows[:, : cloud.width * cloud.point_step]).view(dtype).reshape(-1)
    if (sys.byteorder != "little") != bool(cloud.is_bigendian):
        points = points.byteswap()
    if field_names is not None:
        assert set(field_names) <= set(dtype.names or ()), "Requests field is not in the fields of the PointCloud!"
        points = points[list(field_names)]
    if skip_nans:
        for name in points.dtype.names or ():
            points = points[~np.isnan(points[name])]
    return points


def read_points_numpy(cloud: PointCloud2, field_names: list[str] | None = None, skip_nans: bool = False) -> np.ndarray:
    """As read_points, as a plain (N, F) array; all fields asked for must be of one type."""
    points = read_points(cloud, field_names, skip_nans)
    columns = [points[name] for name in points.dtype.names or ()]
    assert len({column.dtype for column in columns}) == 1, "All fields need to have the same datatype."
    return np.stack(columns, axis=-1)
