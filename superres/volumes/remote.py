"""Zarr stores behind a URL (``s3://``, ``https://``, ...), read lazily through fsspec."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superres.errors import InputError, MissingFileError
from superres.volumes.omezarr import Given, images_at, open_zarr_at
from superres.volumes.volume import Volume
from superres.volumes.zarr_place import METADATA_FILES, Place

# Seconds; a server that does not answer is told apart from one that is slow.
_CONNECT, _ANSWER = 15, 120
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_PACKAGES |= {"http": "aiohttp", "https": "aiohttp"}


def open_remote(
    url: str, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open an OME-Zarr image or Zarr array behind a URL lazily.

    Raises
    ------
    MissingFileError
        When there is no Zarr at the address.
    InputError
        When the address cannot be reached, the package for its protocol is missing, or the store is damaged.
    """
    place = _place(url)
    return open_zarr_at(place, Given(Path(url), axes, voxel_size, part))


def images_in_remote(url: str) -> tuple[str, ...]:
    """List the images of a remote store, as far as its metadata or the server tell them."""
    return images_at(_place(url))


def _place(url: str) -> Place:
    place = Place(repaired_url(url), "url")
    if all(place.read(name) is None for name in METADATA_FILES):
        raise MissingFileError(
            f"{place}: no Zarr at this address (zarr.json, .zgroup and .zarray are not there); check the address"
        )
    return place


def repaired_url(url: str) -> str:
    """Give a URL back the slashes that a path object took from it."""
    scheme, _, rest = url.partition(":")
    return f"{scheme.lower()}://{rest.lstrip('/') if scheme.lower() != 'file' else '/' + rest.lstrip('/')}".rstrip("/")


@functools.cache
def _filesystem(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, **_options(scheme))  # type: ignore[no-untyped-call]
    except ImportError:
        package = _PACKAGES.get(scheme, f"fsspec's package for {scheme}")
        raise InputError(
            f"{scheme}://: addresses of this kind need {package}, which is not installed; "
            f"install it with 'pip install {package}', or copy the store to a disk"
        ) from None
    except ValueError as error:
        raise InputError(f"{scheme}://: not an address that can be read ({error}); give s3:// or https://") from None


def _options(scheme: str) -> dict[str, Any]:
    if scheme not in ("http", "https"):
        return {}
    try:
        import aiohttp
    except ImportError:
        return {}
    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_ANSWER)}}


def _scheme(url: str) -> str:
    return url.partition(":")[0]


def read_remote(url: str) -> bytes:
    """Read a small file.

    Raises
    ------
    FileNotFoundError
        When there is none.
    InputError
        When the server cannot be reached or refuses.
    """
    filesystem = _filesystem(_scheme(url))
    try:
        content: bytes = filesystem.cat_file(url)
    except FileNotFoundError:
        raise
    except _failures() as error:
        raise InputError(f"{url}: {_why(error)}") from error
    return content


# Each protocol's package has errors of its own, beside those of Python.
_OWN_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors of reading from a server: those of Python, and of the packages in use."""
    loaded = [(sys.modules[module], name) for module, name in _OWN_ERRORS if module in sys.modules]
    return (OSError, ValueError, NotImplementedError, *(getattr(module, name) for module, name in loaded))


def _why(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    status = getattr(error, "status", None)
    if isinstance(error, PermissionError) or status in (401, 403) or "credentials" in reason.lower():
        return (
            f"the server refuses access ({reason}); set your credentials as the package for this address documents "
            "(public buckets: FSSPEC_S3_ANON=true)"
        )
    if status is not None:
        return f"the server answers with an error ({reason}); check the address, or try again later"
    return f"cannot be reached ({type(error).__name__}: {reason}); check the address and the network"


def list_remote(url: str) -> list[str]:
    """List the folders at an address; nothing where the server does not list them."""
    try:
        found = _filesystem(_scheme(url)).ls(url, detail=True)
    except _failures():
        return []
    return sorted(str(entry["name"]).rstrip("/").split("/")[-1] for entry in found if entry["type"] == "directory")


def zarr_store(url: str) -> Any:
    """Return zarr-python's store for an address."""
    from zarr.storage import FsspecStore

    return FsspecStore.from_url(url, read_only=True, storage_options=_options(_scheme(url)))
