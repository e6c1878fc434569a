"""`open_volume`: find out what a path is and hand it to its format. Content decides, never the suffix."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from superres.errors import InputError, MissingFileError, UnknownFormatError
from superres.volumes.records import records_folder
from superres.volumes.vendor import vendor_of
from superres.volumes.volume import Volume
from superres.volumes.zarr_place import METADATA_FILES

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NUMPY_MAGIC = b"\x93NUMPY"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?=[^/])")
# What a picture is called tells enough to count the pictures of a folder; opening one goes by its content.
_PICTURES = {".tif", ".tiff", ".btf", ".lsm", ".png", ".jpg", ".jpeg", ".czi", ".nd2", ".lif", ".ims", ".oir", ".oib"}
_PICTURES |= {".h5", ".hdf5", ".dv", ".svs", ".ndpi", ".npy"}
_REFUSED = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"%PDF": "a PDF; give the image file itself",
    b"GIF8": "a GIF, which holds colours of a palette; export the image as OME-TIFF",
    b"BM": "a BMP picture; export the image as OME-TIFF",
    b"\x80\x04": "a Python pickle, which is never loaded; save the array with numpy.save",
    b"\x80\x05": "a Python pickle, which is never loaded; save the array with numpy.save",
    b"<?xml": "XML that describes no image files; give the image file itself",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with git lfs pull",
}


class _Open(Protocol):
    def __call__(
        self, path: Path, *, part: str | None, axes: str | None, voxel_size: Sequence[float] | None
    ) -> Volume: ...


@dataclass(frozen=True, slots=True)
class _Reader:
    """How a format is opened, and how its images are listed."""

    open: _Open
    images: Callable[[Path], tuple[str, ...]]


def open_volume(path: str | Path, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open an image lazily: only headers are read.

    Parameters
    ----------
    path : str or Path
        A file or folder: TIFF in all its kinds, NDTiff, OME-Zarr (0.1 to 0.5, also zipped), Zarr arrays, HDF5, Imaris,
        NumPy, PNG, JPEG, and microscope makers' files where the package that reads them is installed. One of several
        images in it stands after ``::`` (``file.lif::2``, ``file.h5::path/in/file``, ``plate.zarr::B/3/0``). A pattern
        (``folder/scan_z*.tif``) is a series of files; a URL (``s3://``, ``https://``) is an OME-Zarr or Zarr array.
    axes : str, optional
        What the file's axes are, one letter of TCZYX each, where the file does not tell or is wrong.
    voxel_size : sequence of float, optional
        ZYX in micrometre, where the file does not tell or is wrong.

    Raises
    ------
    MissingFileError
        When there is nothing at `path`.
    InputError
        When it is no image that can be read, is damaged or truncated, holds several images of which none is chosen, or
        its axes cannot be told.

    Examples
    --------
    >>> volume = open_volume("stack.tif", axes="ZYX")  # doctest: +SKIP
    >>> volume.read(t=0, c=0, z=slice(0, 8), y=slice(0, 64), x=slice(0, 64)).shape  # doctest: +SKIP
    (8, 64, 64)
    """
    address, part = split_part(path)
    if is_url(address):
        from superres.volumes.remote import open_remote

        return open_remote(address, part=part, axes=axes, voxel_size=voxel_size)
    if is_pattern(address):
        from superres.volumes.series import open_series

        return open_series(address, axes=axes, voxel_size=voxel_size)
    found = Path(address)
    return _reader_of(found).open(found, part=part, axes=axes, voxel_size=voxel_size)


def list_images(path: str | Path) -> tuple[str, ...]:
    """List what can stand after ``::``, in the order of the file; nothing or one name where there is but one image.

    Raises
    ------
    MissingFileError, InputError
        As `open_volume`.
    """
    address, part = split_part(path)
    if part is not None or is_pattern(address):
        return ()
    if is_url(address):
        from superres.volumes.remote import images_in_remote

        return images_in_remote(address)
    return _reader_of(Path(address)).images(Path(address))


def seems_readable(path: str | Path) -> bool:
    """Whether this is an image by its first bytes or the files in it; opening it may still find it damaged.

    Raises
    ------
    MissingFileError, InputError
        When it is not there, cannot be reached, or is a folder that names no one image; with what to do about it.
    """
    address, _ = split_part(path)
    if is_url(address) or is_pattern(address):
        return True
    try:
        _reader_of(Path(address))
    except UnknownFormatError:
        return False
    return True


def split_part(path: str | Path) -> tuple[str, str | None]:
    """Split ``file::part``; a name that exists as it stands is never split.

    Returns
    -------
    address : str
        File, folder, pattern or URL.
    part : str or None
        What stands after the first ``::`` behind something that exists, without leading and trailing slashes.
    """
    whole = os.fspath(path)
    if "::" not in whole or _exists(whole):
        return whole, None
    places = [match.start() for match in re.finditer("(?=::)", whole)]
    place = next((place for place in reversed(places) if _exists(whole[:place])), places[0])
    return whole[:place], whole[place + 2 :].strip("/") or None


def is_url(address: str) -> bool:
    """Whether this is the address of a remote store; a path that exists is none."""
    return _URL.match(address) is not None and not _exists(address)


def _exists(path: str) -> bool:
    return os.path.lexists(path) if "\0" not in path else False


def is_pattern(address: str) -> bool:
    """Whether this is a pattern of files and not the name of one."""
    return any(mark in address for mark in "*?[") and not _exists(address) and not is_url(address)


def _reader_of(path: Path) -> _Reader:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        broken = path.is_symlink() if "\0" not in str(path) else False
        what = "a symbolic link to something that is not there" if broken else "no such file or folder"
        raise MissingFileError(f"{path}: {what}; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be reached ({_reason(error)}); check the path and its permissions") from None
    if stat.S_ISDIR(mode):
        return _reader_of_folder(path)
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: neither a file nor a folder; check the path")
    return _reader_of_file(path)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _reader_of_folder(path: Path) -> _Reader:
    names = _names_in(path)
    if any(name in names for name in METADATA_FILES):
        from superres.volumes.omezarr import images_in_omezarr, open_omezarr

        return _Reader(open_omezarr, images_in_omezarr)
    if "NDTiff.index" in names or "Full resolution" in names:
        from superres.volumes.ndtiff import images_in_ndtiff, open_ndtiff

        return _Reader(open_ndtiff, images_in_ndtiff)
    raise _no_image_in(path, names)


def _names_in(path: Path) -> list[str]:
    """List a folder; of a store's chunks in one folder only as many names as tell that it is a store."""
    try:
        for name in METADATA_FILES:
            if (path / name).is_file():
                return [name]
        return sorted(item.name for item in path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: a folder that cannot be read ({_reason(error)}); check its permissions") from None


def _no_image_in(path: Path, names: Sequence[str]) -> InputError:
    if records_folder(path).is_dir():
        return InputError(
            f"{path}: a store that is not finished; run the command that writes it again, it goes on where it stopped"
        )
    pictures = [name for name in names if Path(name).suffix.lower() in _PICTURES]
    stores = [name for name in names if any((path / name / file).is_file() for file in METADATA_FILES)]
    if pictures:
        series = path / f"*{Path(pictures[0]).suffix}"
        return InputError(
            f"{path}: a folder of {_counted(pictures, 'image')}; name one, e.g. {path / pictures[0]}, or give a "
            f"pattern to read the files as one series, e.g. '{series}'"
        )
    if stores:
        return InputError(f"{path}: a folder of {_counted(stores, 'Zarr store')}; name one, e.g. {path / stores[0]}")
    found = f"{len(names)} {'entry' if len(names) == 1 else 'entries'}, the first of them {names[0]}" if names else ""
    return UnknownFormatError(
        f"{path}: a folder without an image (found {found or 'nothing'}; expected the zarr.json, .zgroup or .zarray of "
        "a Zarr, or image files); give a file, or the folder of an OME-Zarr"
    )


def _counted(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({shown})"


def _reader_of_file(path: Path) -> _Reader:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}); check its permissions") from None
    vendor = vendor_of(path, start)
    if vendor is not None:
        from superres.volumes.vendor import images_in_vendor, open_vendor

        return _Reader(open_vendor, images_in_vendor)
    # The companion file of an OME-TIFF set stands for the set.
    if start[:4] in _TIFF_MAGIC or (start.lstrip(b"\xef\xbb\xbf").startswith((b"<?xml", b"<OME")) and b"<OME" in start):
        from superres.volumes.tiff import images_in_tiff, open_tiff

        return _Reader(open_tiff, images_in_tiff)
    if any(start[place:].startswith(_HDF5_MAGIC) for place in (0, 512, 1024, 2048)):
        from superres.volumes.hdf5 import images_in_hdf5, open_hdf5

        return _Reader(open_hdf5, images_in_hdf5)
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        from superres.volumes.omezarr import images_in_omezarr, open_omezarr

        return _Reader(open_omezarr, images_in_omezarr)
    return _single(path, start)


def _single(path: Path, start: bytes) -> _Reader:
    """Return the reader of a format whose files hold one image, or refuse the file."""
    opener: Callable[..., Volume]
    if start.startswith(_NUMPY_MAGIC):
        from superres.volumes.numpy_files import open_numpy as opener
    elif start.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        from superres.volumes.planes import open_plane

        name = "PNG" if start.startswith(b"\x89PNG") else "JPEG"

        def opener(path: Path, **options: Any) -> Volume:
            return open_plane(path, format=name, **options)
    else:
        raise _no_format(path, start)

    def only(path: Path, *, part: str | None, axes: str | None, voxel_size: Sequence[float] | None) -> Volume:
        if part is not None:
            raise InputError(f"{path}: holds one image, {part!r} is not in it; give the path without '::{part}'")
        return opener(path, axes=axes, voxel_size=voxel_size)

    return _Reader(only, lambda path: ())


def _no_format(path: Path, start: bytes) -> InputError:
    for magic, what in _REFUSED.items():
        if start.startswith(magic):
            return UnknownFormatError(f"{path}: {what}")
    if not start:
        found = "an empty file"
    elif not any(start):
        found = f"a file that starts with {len(start)} zero bytes (a copy that was cut short?)"
    else:
        found = f"a file that starts with {start[:4]!r}"
    return UnknownFormatError(
        f"{path}: {found}, which is no format that superres reads; expected TIFF, OME-Zarr, HDF5, PNG, JPEG, NumPy or "
        "a microscope maker's file; export the image as OME-TIFF"
    )
