# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of downloads in one clause: what went wrong, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

from gld_ros.errors import ModelError


@contextmanager
def explained(what: str, local_files_only: bool = False) -> Iterator[None]:
    """Turn whatever downloading raises (huggingface_hub, httpx or requests, hf_xet, the disk) into ModelError."""
    try:
        yield
    except Exception as error:
        from huggingface_hub.errors import LocalEntryNotFoundError  # takes long to import

        if local_files_only and isinstance(error, LocalEntryNotFoundError):
            raise ModelError(f"{what}: not on this disk, and nothing may be downloaded (local_files_only)") from error
        raise ModelError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """One clause of what went wrong, and of what to do."""
    from huggingface_hub.errors import (  # take long to import
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    again = "what is complete is kept, run the same command again"
    match error:
        case OSError(errno=errno.ENOSPC):
            return f"the disk is full ({error}); {again}, or use `gld models download NAME --to DIR` on another"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() if constants.HF_HUB_OFFLINE:
            return "not on this disk, and HF_HUB_OFFLINE forbids to download it"
        case LocalEntryNotFoundError():
            return f"not on this disk, and {constants.ENDPOINT} cannot be reached ({error.__cause__ or error})"
        case GatedRepoError():
            return "its owner has to grant access: ask on its page, then log in with `hf auth login`"
        case RepositoryNotFoundError():
            return f"{constants.ENDPOINT} has no such repository, or it is private (log in with `hf auth login`)"
        case RevisionNotFoundError():
            return "there is no such revision"
        case EntryNotFoundError():
            return "there is no such file"
    return f"{type(error).__name__}: {error}; {again}"
