"""OME-TIFF sets: which files belong together, and whether they are all there.

A set is several TIFF files whose OME-XML names the file of every plane. The XML stands in each file, or in one
companion file (``.companion.ome``) to which the others point.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import tifffile

from superres.errors import InputError
from superres.volumes.ome_reading import local_name
from superres.volumes.tiff_damage import check_chain, open_tifffile

# A list with an entry per declared plane is made when a file is opened; no acquisition has that many.
_MOST_PLANES = 10_000_000
_LONGEST_XML = 2**28


@dataclass(frozen=True, slots=True)
class Described:
    """An opened TIFF, and the files that its OME-XML names.

    Parameters
    ----------
    file : tifffile.TiffFile
        To be closed by the caller.
    members : tuple of Path
        All files of the set, the companion among them; empty where the file stands alone.
    """

    file: tifffile.TiffFile
    members: tuple[Path, ...]


def is_companion(path: Path) -> bool:
    """Whether a file is the companion of an OME-TIFF set: OME-XML instead of a TIFF."""
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def open_described(path: Path) -> Described:
    """Open a TIFF, or the whole set that a companion file or one part of a set belongs to.

    Raises
    ------
    InputError
        When the description is damaged, files of the set are missing, or their names lead out of the folder.
    """
    if is_companion(path):
        return _open_set(path, _read_companion(path))
    file = open_tifffile(path)
    try:
        xml = file.ome_metadata
        if not xml:
            return Described(file, ())
        root = _parse(xml, path)
        pointer = next((child for child in root if local_name(child) == "BinaryOnly"), None)
        if pointer is not None:
            file.close()
            companion = _beside(path, pointer.get("MetadataFile", ""))
            if not companion.is_file():
                raise InputError(
                    f"{path}: one part of an OME-TIFF set, described in {companion.name}, which is not beside it; "
                    "put all files of the set into one folder"
                )
            return _open_set(companion, _read_companion(companion))
        _check_planes(root, path)
        names = _named_files(root)
        own = {path.name.lower()} | {name.lower() for name, uuid in names.items() if uuid and uuid == root.get("UUID")}
        others = [name for name in names if name.lower() not in own]
        if len(names) == 1 and others and not _beside(path, others[0]).exists():
            # A file that was renamed after it was written still names itself by its old name.
            file.close()
            return Described(open_tifffile(path, omexml=_without_names(root)), ())
        _check_present(path, others)
        for name in others:
            check_chain(_beside(path, name))
        return Described(file, tuple(sorted({path, *(_beside(path, name) for name in others)})) if others else ())
    except InputError:
        file.close()
        raise


def _open_set(companion: Path, xml: str) -> Described:
    root = _parse(xml, companion)
    _check_planes(root, companion)
    names = _named_files(root)
    if not names:
        raise InputError(f"{companion}: names no TIFF file; open the OME-TIFF files themselves")
    _check_present(companion, list(names))
    members = [_beside(companion, name) for name in names]
    for member in members[1:]:
        check_chain(member)
    file = open_tifffile(members[0], omexml=xml)
    return Described(file, tuple(sorted({companion, *members})))


def _read_companion(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST_XML:
            raise InputError(f"{path}: too long for a description of files; expected OME-XML")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not readable as text, OME-XML expected; copy the file again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _parse(xml: str, path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: damaged OME-XML ({error}); copy or export the file again") from None
    if local_name(root) != "OME":
        raise InputError(f"{path}: {local_name(root)} found, OME-XML expected; open the TIFF files themselves")
    return root


def _check_planes(root: ElementTree.Element, path: Path) -> None:
    """Check the numbers that decide how much memory it takes to list the planes."""
    for pixels in (element for element in root.iter() if local_name(element) == "Pixels"):
        try:
            planes = math.prod(int(pixels.get(f"Size{axis}", "1")) for axis in "ZCT")
            counts = [
                int(data.get("PlaneCount") or data.get("NumPlanes") or 0)
                for data in pixels
                if local_name(data) == "TiffData"
            ]
        except ValueError as error:
            raise InputError(f"{path}: damaged OME-XML ({error}); copy or export the file again") from None
        most = max([planes, *counts])
        if most > _MOST_PLANES:
            raise InputError(f"{path}: {most} planes declared, more than any file holds; it is damaged")


def _named_files(root: ElementTree.Element) -> dict[str, str]:
    """Return the file names of all planes with their identifiers, in the order of the planes."""
    return {
        element.get("FileName", ""): (element.text or "").strip()
        for element in root.iter()
        if local_name(element) == "UUID" and element.get("FileName")
    }


def _without_names(root: ElementTree.Element) -> str:
    for data in (element for element in root.iter() if local_name(element) == "TiffData"):
        for uuid in [child for child in data if local_name(child) == "UUID"]:
            data.remove(uuid)
    return ElementTree.tostring(root, encoding="unicode")


def _beside(path: Path, name: str) -> Path:
    """Return the file `name` in the folder of `path`, refusing names that lead out of it."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if not name or relative.is_absolute() or ".." in relative.parts or re.match(r"[A-Za-z]:", name):
        raise InputError(
            f"{path}: names {name!r} as a file of the set, which lies outside its folder and is not opened; "
            "put all files of the set into one folder"
        )
    return path.parent / relative


def _check_present(path: Path, names: list[str]) -> None:
    missing = [name for name in names if not _beside(path, name).is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(
            f"{path}: {len(missing)} of {len(names)} further files of the same set are missing ({shown}); "
            "put all files of the set into one folder"
        )
