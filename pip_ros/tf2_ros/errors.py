# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a lookup can raise."""


class TransformException(Exception):
    """Base of all."""


class LookupException(TransformException):
    """A frame that nobody has published."""


class ConnectivityException(TransformException):
    """Two frames in trees that are not connected."""


class ExtrapolationException(TransformException):
    """A time before the first or after the last transform of a frame on the way."""


class InvalidArgumentException(TransformException):
    """A frame name that is empty or starts with a slash."""


class TimeoutException(TransformException):
    """An answer that did not come in time (of action clients; lookups raise the reason for waiting instead)."""
