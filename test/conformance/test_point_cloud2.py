# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the package expects of sensor_msgs_py.point_cloud2, of a ROS distribution or of pip_ros/."""

import struct

import numpy as np
import pytest
from sensor_msgs.msg import PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1),
    PointField(name="generated", offset=16, datatype=PointField.UINT8, count=1),
]
HEADER = Header(frame_id="map")


def points() -> np.ndarray:
    out = np.zeros(5, point_cloud2.dtype_from_fields(FIELDS))
    out["x"], out["y"], out["z"] = np.arange(5), np.arange(5) * 0.5, -np.arange(5)
    out["rgb"] = np.arange(5, dtype=np.uint32).view(np.float32)
    out["generated"] = [0, 255, 0, 255, 0]
    return out


def test_dtype_has_every_field_at_its_offset():
    dtype = point_cloud2.dtype_from_fields(FIELDS)
    assert dtype.names == ("x", "y", "z", "rgb", "generated")
    assert [dtype.fields[name][1] for name in dtype.names] == [0, 4, 8, 12, 16]
    assert dtype["generated"] == np.uint8 and dtype["x"] == np.float32
    assert dtype.itemsize == 17


def test_dtype_with_padding():
    fields = [FIELDS[0], PointField(name="i", offset=8, datatype=PointField.UINT16, count=1)]
    dtype = point_cloud2.dtype_from_fields(fields, point_step=16)
    assert dtype.fields["i"][1] == 8 and dtype.itemsize == 16


def test_cloud_of_a_structured_array():
    cloud = point_cloud2.create_cloud(HEADER, FIELDS, points())
    assert (cloud.header, cloud.height, cloud.width) == (HEADER, 1, 5)
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (17, 85, 85)
    assert not cloud.is_bigendian and not cloud.is_dense
    assert list(cloud.fields) == FIELDS
    assert struct.unpack_from("<fff", bytes(cloud.data), 3 * 17) == (3.0, 1.5, -3.0)
    assert bytes(cloud.data)[3 * 17 + 16] == 255


def test_there_and_back():
    out = point_cloud2.read_points(point_cloud2.create_cloud(HEADER, FIELDS, points()))
    for name in points().dtype.names:
        assert out[name].tobytes() == points()[name].tobytes()


def test_a_field_that_does_not_fit_is_an_error():
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, FIELDS[:3], points())


def test_an_empty_cloud():
    cloud = point_cloud2.create_cloud(HEADER, FIELDS, points()[:0])
    assert (cloud.width, cloud.row_step, len(cloud.data)) == (0, 0, 0)
    assert len(point_cloud2.read_points(cloud)) == 0


def test_xyz_cloud_and_plain_array():
    xyz = np.arange(12, dtype=np.float32).reshape(4, 3)
    cloud = point_cloud2.create_cloud_xyz32(HEADER, xyz)
    assert [(field.name, field.offset) for field in cloud.fields] == [("x", 0), ("y", 4), ("z", 8)]
    assert cloud.point_step == 12
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), xyz)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud, ["z", "x"]), xyz[:, [2, 0]])


def test_reading_some_fields_without_nan():
    xyz = np.array([[0, 0, 0], [np.nan, 1, 1], [2, 2, np.nan]], np.float32)
    cloud = point_cloud2.create_cloud_xyz32(HEADER, xyz)
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 1
    assert point_cloud2.read_points(cloud, ["y", "z"], skip_nans=True)["y"].tolist() == [0, 1]


def test_plain_array_needs_one_type():
    with pytest.raises(AssertionError):
        point_cloud2.read_points_numpy(point_cloud2.create_cloud(HEADER, FIELDS, points()))
