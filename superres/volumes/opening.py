"""`open_volume`: find out what a path is and hand it to its format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from superres.errors import InputError, MissingFileError
from superres.volumes.volume import Volume

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PLANE_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}


def open_volume(path: str | Path, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open an image lazily: only headers are read.

    Parameters
    ----------
    path : str or Path
        TIFF (plain, ImageJ hyperstack, OME-TIFF), PNG or JPEG file, or the folder of an OME-Zarr (0.1 to 0.5) or Zarr
        array.
    axes : str, optional
        What the file's axes are, one letter of TCZYX each, where the file does not tell or is wrong.
    voxel_size : sequence of float, optional
        ZYX in micrometre, where the file does not tell or is wrong.

    Raises
    ------
    MissingFileError
        When there is nothing at `path`.
    InputError
        When it is no image that can be read, is damaged or truncated, or its axes cannot be told.

    Examples
    --------
    >>> volume = open_volume("stack.tif", axes="ZYX")  # doctest: +SKIP
    >>> volume.read(t=0, c=0, z=slice(0, 8), y=slice(0, 64), x=slice(0, 64)).shape  # doctest: +SKIP
    (8, 64, 64)
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        from superres.volumes.omezarr import open_omezarr

        return open_omezarr(path, axes=axes, voxel_size=voxel_size)
    return _open_file(path, axes, voxel_size)


def _open_file(path: Path, axes: str | None, voxel_size: Sequence[float] | None) -> Volume:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if magic in _TIFF_MAGIC:
        from superres.volumes.tiff import open_tiff

        return open_tiff(path, axes=axes, voxel_size=voxel_size)
    for start, name in _PLANE_MAGIC.items():
        if magic.startswith(start):
            from superres.volumes.planes import open_plane

            return open_plane(path, format=name, axes=axes, voxel_size=voxel_size)
    found = "an empty file" if not magic else f"a file that starts with {magic!r}"
    raise InputError(
        f"{path}: {found}, which is no format that superres reads; expected TIFF, PNG, JPEG or the folder of an "
        "OME-Zarr; export the image as OME-TIFF"
    )
