"""Folders, patterns and files as a list of acquisitions; one that cannot be read does not keep the others from it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from superres.errors import InputError, MissingFileError, SuperresError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes.opening import is_pattern, is_url, list_images, open_volume, split_part
from superres.volumes.volume import Volume
from superres.volumes.zarr_place import METADATA_FILES

IMAGE_SUFFIXES = (
    *(".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk", ".ndpi", ".svs", ".scn", ".qptiff"),
    *(".png", ".jpg", ".jpeg", ".npy", ".h5", ".hdf5", ".ims", ".zarr", ".zarr.zip", ".ozx"),
    *(".czi", ".nd2", ".lif", ".dv", ".r3d", ".oir", ".oib", ".oif", ".vsi", ".mrc", ".sld", ".sldy"),
)
"""What the names of images end with when a folder is searched; a file that is named itself is opened by its content."""

_NDTIFF_INDEX = "NDTiff.index"
_NDTIFF_FULL = "Full resolution"
# What superres itself writes beside a store.
_NOT_IMAGES = (".records", ".deleted", ".partial")
_MOST_ENTRIES = 100_000
_DEEPEST = 32
# So many files take long enough to be opened that it should be seen.
_MANY = 50
# Words after which a number counts planes, channels or time points; a bare number may as well count acquisitions.
_COUNTED = re.compile(
    r"(?<![A-Za-z])(z|slice|plane|t|time|frame|timepoint|tp|c|ch|chan|channel)([_-]?)(\d+)(?![A-Za-z0-9])", re.I
)


@dataclass(frozen=True, slots=True)
class Found:
    """One acquisition.

    Parameters
    ----------
    path : str
        What `open_volume` takes: file, folder, pattern of a numbered series, ``file::image`` or URL.
    error : str or None
        Why it cannot be read.
    name : str
        Its place below the folder that was searched, with "/" and without endings; fit for naming an output.
    volume : Volume or None
        The opened image, if it can be read.
    """

    path: str
    error: str | None = None
    name: str = ""
    volume: Volume | None = field(default=None, compare=False, repr=False)


_Opener = Callable[[str], Volume]


def find_acquisitions(
    inputs: Sequence[str | Path],
    *,
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    leave_out: Sequence[Path] = (),
    apart: bool = False,
    progress: ProgressCallback = silent,
) -> tuple[Found, ...]:
    """Make a list of acquisitions out of folders, patterns and files.

    Folders are searched with their sub-folders. The files of one OME-TIFF set are one acquisition, and so are single
    planes of one shape whose names count them (``scan_z001.tif``, ``scan_z002.tif``, ...); every image of a plate or of
    a file with several is one.

    Parameters
    ----------
    inputs : sequence of str or Path
        Folders, patterns (``folder/*.tif``), files, ``file::image``, URLs.
    axes, voxel_size
        Of every image, as for `open_volume`.
    leave_out : sequence of Path
        Folders that are not searched, such as the one that results go to.
    apart : bool
        Whether names begin with that of the folder that was searched, where there are several such folders: files of
        one name in two folders then keep apart.
    progress : callable
        Told of every file that is opened.

    Returns
    -------
    tuple of Found
        In the order of the inputs, files before sub-folders, numbers in names by their value; none twice.

    Raises
    ------
    MissingFileError
        When a folder holds no image, or a pattern matches nothing.
    InputError
        When there are too many files to search.
    """
    several = apart and sum(is_searched(str(given)) for given in inputs) > 1
    files = [item for given in inputs for item in _expand(str(given), leave_out, several)]
    return gather(files, axes=axes, voxel_size=voxel_size, progress=progress)


def gather(
    files: Sequence[tuple[str, str]],
    *,
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    progress: ProgressCallback = silent,
) -> tuple[Found, ...]:
    """Open files and stores, given as path and name, and put together what is one acquisition (`find_acquisitions`)."""

    def opener(path: str) -> Volume:
        return open_volume(path, axes=axes, voxel_size=voxel_size)

    found: list[Found] = []
    covered: set[str] = set()
    for number, (path, name) in enumerate(files):
        if len(files) > _MANY:
            progress(Progress("open", number, len(files), "files"))
        for one in _open(path, name, opener) if _identity(path) not in covered else ():
            found.append(one)
            covered.add(_identity(path))
            covered.update(_identity(str(file)) for file in (one.volume.files if one.volume else ()))
    if len(files) > _MANY:
        progress(Progress("open", len(files), len(files), "files"))
    return tuple(_merge_series(found, opener))


def holds_several(path: str) -> bool:
    """Whether a path is a folder to be searched, a pattern, or a file or store of several images."""
    address, part = split_part(path)
    if part is not None or is_url(address):
        return False
    if not os.path.lexists(address):
        return is_pattern(address)
    if Path(address).is_dir() and not is_single(Path(address)):
        return True
    return len(list_images(address)) > 1


# --- searching -------------------------------------------------------------------------------------------------------


def is_searched(given: str) -> bool:
    """Whether an input is a folder that is searched for images."""
    address, part = split_part(given)
    return part is None and Path(address).is_dir() and not is_single(Path(address))


def search(folder: Path, leave_out: Sequence[Path] = (), *, apart: bool = False) -> list[tuple[str, str]]:
    """Return path and name of every image file and store in a folder and its sub-folders; nothing is opened.

    Raises
    ------
    InputError
        When the folder cannot be read, or holds too many files.
    """
    root = folder.resolve().name if apart else ""
    return [
        (str(path), Path(root, path.relative_to(folder).parent, _stem(path.name)).as_posix())
        for path in _Search(folder, leave_out).images()
    ]


def _expand(given: str, leave_out: Sequence[Path], apart: bool = False) -> Iterator[tuple[str, str]]:
    """Yield path and name of every file or store that an input stands for."""
    address, part = split_part(given)
    if is_searched(given):
        found = search(Path(address), leave_out, apart=apart)
        if not found:
            raise MissingFileError(
                f"{address}: holds no image (no name ends with {', '.join(IMAGE_SUFFIXES[:2])}, .zarr, .png, .czi or "
                "the like); name the files themselves"
            )
        yield from found
    elif part is None and not is_url(address) and not os.path.lexists(address) and is_pattern(address):
        paths = sorted(matches(address), key=_natural)
        if not paths:
            raise MissingFileError(f"{address}: no file matches this pattern; check the folder and the pattern")
        for path in paths:
            if path.is_dir() and not is_single(path):
                yield from _expand(str(path), leave_out)
            elif path.is_dir() or _is_image(path.name):
                yield str(path), _stem(path.name)
    else:
        yield given, _stem(Path(address).resolve().name if part is None and not is_url(address) else address)


class _Search:
    """A walk through a folder: hidden files are left out, stores not entered, and no folder is searched twice."""

    def __init__(self, root: Path, leave_out: Sequence[Path]) -> None:
        self._root = root
        self._seen = {path.resolve() for path in leave_out} - {root.resolve()}
        self._entries = 0

    def images(self) -> Iterator[Path]:
        """Yield image files and stores."""
        return self._walk(self._root, 0)

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        place = folder.resolve()
        if place in self._seen or depth > _DEEPEST:
            return
        self._seen.add(place)
        deeper: list[Path] = []
        for path in self._listed(folder):
            if path.is_dir():
                if path.suffix == ".zarr" or is_single(path):
                    yield path
                else:
                    deeper.append(path)
            elif _is_image(path.name) and path.is_file():
                yield path
        for path in deeper:
            yield from self._walk(path, depth + 1)

    def _listed(self, folder: Path) -> list[Path]:
        paths: list[Path] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entries += 1
                    if self._entries > _MOST_ENTRIES:
                        raise InputError(
                            f"{self._root}: more than {_MOST_ENTRIES} files and folders in it; give a smaller folder"
                        )
                    if not entry.name.startswith(".") and not entry.name.endswith(_NOT_IMAGES):
                        paths.append(Path(entry.path))
        except OSError as error:
            if folder == self._root:
                raise InputError(f"{folder}: a folder that cannot be read ({error.strerror})") from None
            return []
        return sorted(paths, key=_natural)


def is_single(folder: Path) -> bool:
    """Whether a folder is a store, which is opened as a whole."""
    names = (*METADATA_FILES, _NDTIFF_INDEX, f"{_NDTIFF_FULL}/{_NDTIFF_INDEX}")
    return folder.suffix == ".zarr" or any((folder / name).is_file() for name in names)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def matches(pattern: str) -> list[Path]:
    """Return what a pattern matches, in no order."""
    # pathlib has no glob for a pattern whose folders are patterns too, absolute or relative.
    return [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in names by their value: ``z2`` before ``z10``."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _identity(path: str) -> str:
    return os.path.realpath(path)


def _stem(name: str) -> str:
    """Return a name without its endings: ``cell.ome.tif`` and ``cell.zarr`` are both ``cell``."""
    ending = next((suffix for suffix in sorted(IMAGE_SUFFIXES, key=len)[::-1] if name.lower().endswith(suffix)), "")
    stem = name[: len(name) - len(ending)] if ending else Path(name).stem
    return re.sub(r"\.ome$", "", stem, flags=re.I) or name


# --- opening ---------------------------------------------------------------------------------------------------------


def _open(path: str, name: str, opener: _Opener) -> Iterator[Found]:
    """Open a file or store: one acquisition, or one for each of its images."""
    try:
        yield Found(path, name=name, volume=opener(path))
        return
    except SuperresError as error:
        message = str(error)
    images = _images_in(path)
    if len(images) < 2:
        yield Found(path, message, name)
        return
    for image in images:
        one = Found(f"{path}::{image}", name=f"{name}_{_plain(image)}")
        try:
            yield replace(one, volume=opener(one.path))
        except SuperresError as error:
            yield replace(one, error=str(error))


def _images_in(path: str) -> tuple[str, ...]:
    try:
        return () if split_part(path)[1] is not None else list_images(path)
    except SuperresError:
        return ()


def _plain(image: str) -> str:
    return re.sub(r"[^\w.-]+", "_", image)


# --- numbered series -------------------------------------------------------------------------------------------------


def _merge_series(found: Sequence[Found], opener: _Opener) -> list[Found]:
    """Put single planes whose names count them together to one acquisition, where the first of them stood."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, one in enumerate(found):
        key = series_key(one)
        if key is not None:
            groups.setdefault(key, []).append(number)
    merged: dict[int, Found | None] = {}
    for numbers in groups.values():
        members = [found[i] for i in numbers]
        whole = _series(_pattern(members), members, opener) if len(numbers) > 1 else None
        if whole is not None:
            merged |= {numbers[0]: whole} | dict.fromkeys(numbers[1:])
    results = [merged.get(number, one) for number, one in enumerate(found)]
    return [one for one in results if one is not None]


def series_key(one: Found) -> tuple[object, ...] | None:
    """Return what the planes of one series share: path but for what counts them, shape and type; else None."""
    volume = one.volume
    if volume is None or volume.part or len(volume.files) > 1 or volume.shape[:3] != (1, 1, 1):
        return None
    kind = counted_name(Path(one.path))
    return (kind, volume.shape, volume.dtype.str) if kind is not None else None


def counted_name(path: Path) -> tuple[Path, str] | None:
    """Return the folder and the name with "*" for what counts planes, channels or time points; None where none does."""
    kind, replaced = _COUNTED.subn(r"\1\2*", path.name)
    return (path.parent, kind) if replaced else None


def _pattern(members: Sequence[Found]) -> str:
    """Return a pattern for all members, with "*" where their numbers differ."""
    name, folder = Path(members[0].path).name, Path(members[0].path).parent
    numbers = [[match[3] for match in _COUNTED.finditer(Path(one.path).name)] for one in members]
    differ = iter([len(set(column)) > 1 for column in zip(*numbers, strict=True)])
    end, parts = 0, []
    for match in _COUNTED.finditer(name):
        parts += [glob.escape(name[end : match.start(3)]), "*" if next(differ) else match[3]]
        end = match.end()
    return str(Path(glob.escape(str(folder)), "".join(parts) + glob.escape(name[end:])))


def _series(pattern: str, members: Sequence[Found], opener: _Opener) -> Found | None:
    """Open planes as one series; None where the pattern means other files too."""
    if {_identity(str(path)) for path in matches(pattern)} != {_identity(one.path) for one in members}:
        return None
    name = re.sub(r"[_\-. ]*[A-Za-z]*[_-]?\*", "", _stem(Path(pattern).name)).strip("_-. ")
    folder = Path(members[0].name).parent
    one = Found(pattern, name=(folder / (name or Path(pattern).parent.name or "series")).as_posix())
    try:
        return replace(one, volume=opener(pattern))
    except SuperresError as error:
        return replace(one, error=str(error))
