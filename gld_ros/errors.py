# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Named errors. Each carries the name of the `error_code` that the node answers with: a constant of its services."""


class GLDError(Exception):
    """Base of every error a request can end with; `code` is a constant's name in srv/SynthesizeViews."""

    code = "MODEL_ERROR"


class NoContext(GLDError):
    """No source view that could support the request."""

    code = "NO_CONTEXT"


class TFError(GLDError):
    """A pose that TF cannot give: unknown frame, no data at the stamp, timeout."""

    code = "TF_ERROR"


class RequestTimeout(GLDError):
    """The time budget of a request ran out."""

    code = "TIMEOUT"


class InvalidRequest(GLDError, ValueError):
    """Something in the request or input that cannot be right; the message names it and what was expected."""

    code = "INVALID_REQUEST"


class ModelError(GLDError, RuntimeError):
    """The model cannot be loaded or gave no finite output."""

    code = "MODEL_ERROR"


class OutOfMemory(GLDError):
    """The device has too little memory for the request."""

    code = "OUT_OF_MEMORY"


class Cancelled(GLDError):
    """The client cancelled the request."""

    code = "CANCELLED"


class ScaleUnknown(GLDError):
    """No metric scale: the cameras' baseline cannot support one."""

    code = "SCALE_UNKNOWN"


class FileError(GLDError):
    """A file or folder cannot be read or written, or is not what was written."""

    code = "FILE_ERROR"


class NotActive(GLDError):
    """The node is not in the lifecycle state `active`."""

    code = "NOT_ACTIVE"
