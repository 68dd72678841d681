# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CvBridge: the class that ROS nodes use."""

import array
import sys

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.encodings import CvBridgeError, convert, generic_name, parse

__all__ = ["CvBridge", "CvBridgeError"]


class CvBridge:
    """Images of ROS to and from (H, W) or (H, W, C) arrays; CvBridgeError for what cannot be converted."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """The message's pixels, rows without padding, native byte order, in `desired_encoding`."""
        encoding = parse(img_msg.encoding)
        dtype = encoding.dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        row = img_msg.width * encoding.channels * dtype.itemsize
        if img_msg.step < row or len(img_msg.data) < img_msg.step * img_msg.height:
            raise CvBridgeError(
                f"{img_msg.width}x{img_msg.height} {img_msg.encoding} has step {img_msg.step} and "
                f"{len(img_msg.data)} bytes; at least {row} and {row * img_msg.height} are expected"
            )
        rows = np.frombuffer(img_msg.data, np.uint8, img_msg.step * img_msg.height).reshape(img_msg.height, -1)
        image = np.ascontiguousarray(rows[:, :row]).view(dtype)
        if encoding.channels > 1:
            image = image.reshape(img_msg.height, img_msg.width, encoding.channels)
        image = image.astype(encoding.dtype, copy=False)
        return image if desired_encoding == "passthrough" else convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None) -> Image:
        """A message of the array; `encoding` must fit its type and channels, "passthrough" names a plain one."""
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        plain = generic_name(cvim)
        if encoding != "passthrough":
            wanted = parse(encoding)
            if (wanted.dtype, wanted.channels) != parse(plain)[:2]:
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {plain}")
        height, width = cvim.shape[:2]
        big = cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and sys.byteorder == "big")
        message = Image(height=height, width=width, encoding=plain if encoding == "passthrough" else encoding)
        message.is_bigendian = int(big)
        message.step = cvim.nbytes // height if height else 0
        message.data = array.array("B")
        message.data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8))  # one copy, tobytes() is another
        if header is not None:
            message.header = header
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray | None:
        """The decoded image as stored, channels as OpenCV orders them (BGR), or in `desired_encoding`.

        None, as in ROS, for data that no codec reads when "passthrough" is asked for; CvBridgeError otherwise.
        """
        image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if desired_encoding == "passthrough":
            return image
        if image is None:
            raise CvBridgeError(f"{len(cmprs_img_msg.data)} bytes of '{cmprs_img_msg.format}' cannot be decoded")
        return convert(image, "bgr8", desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray, dst_format: str = "jpg") -> CompressedImage:
        """The array (BGR where it has colour) coded as `dst_format`, such as "jpg" or "png"."""
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        message = CompressedImage(format=dst_format)
        message.data = array.array("B", cv2.imencode(f".{dst_format}", cvim)[1].tobytes())
        return message
