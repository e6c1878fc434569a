"""Take a model back out of a package of the bioimage.io format.

A package that superres wrote holds the model file as it was, and that comes back, bit for bit. Others are refused with
what they lack. State dicts and TorchScript are pickles, or hold some: nothing in a package but its description and
that model file is read, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import yaml

from superres.errors import InputError, MissingFileError, ModelFileError, OutputWriteError
from superres.modelfile import ModelFile, load_model_file
from superres.sharing.bioimageio_export import put_in_place, require_free, workshop
from superres.sharing.card import Card

_DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
# A description is a page or two, and a model is not larger than the memory that it is to be loaded into.
_LONGEST_DESCRIPTION = 4 << 20
_LARGEST_MODEL = 4 << 30
_LARGEST_PICTURE = 64 << 20
# What zipfile raises of damaged files, whose numbers lead to places that are none.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)


class _Package(Protocol):
    """The files of a package, in a folder or in a ``.zip``."""

    def names(self) -> list[str]: ...

    def read(self, name: str, most: int) -> bytes: ...


def import_bioimageio(package: Path, out: Path) -> ModelFile:
    """Write the model file that a package holds, and beside it the pictures of its card.

    Parameters
    ----------
    package : Path
        A ``.zip``, or the folder that one was unpacked to.
    out : Path
        The model file, a ``.safetensors`` that does not exist yet.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no package, it is damaged or none, or it was not made by superres; with what it lacks.
    OutputExistsError, OutputWriteError
        When `out` exists, or cannot be written.
    """
    require_free(out, ".safetensors")
    with _opened(package) as files:
        described = _description(package, files)
        name, sha256 = _ours(package, described)
        if name not in files.names():
            raise ModelFileError(f"{package}: its description names {name}, which is not in it; give a whole copy")
        content = files.read(name, _LARGEST_MODEL)
        pictures = {one: files.read(one, _LARGEST_PICTURE) for one in files.names() if one.endswith(".png")}
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelFileError(
            f"{package}: {name} is not the file that its description speaks of (another SHA-256); give another copy"
        )
    with workshop(out) as folder:
        made = Path(folder) / out.name
        made.write_bytes(content)
        try:
            card = Card.of(load_model_file(made))
        except ModelFileError as error:
            raise ModelFileError(str(error).replace(str(made), f"{package}: {name} in it")) from None
        _put_pictures(card, pictures, out.parent)
        put_in_place(made, out)
    return load_model_file(out)


def _put_pictures(card: Card | None, found: Mapping[str, bytes], folder: Path) -> None:
    """Write the pictures of a card beside the model, those that are as the card says; others were never its."""
    for picture in card.pictures if card is not None else ():
        content, path = found.get(PurePosixPath(picture.file).name), folder / picture.file
        if content is None or hashlib.sha256(content).hexdigest() != picture.sha256 or path.exists():
            continue
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise OutputWriteError(f"{path}: cannot be written ({error})") from None


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return [path.name for path in self._path.iterdir() if path.is_file()]

    def read(self, name: str, most: int) -> bytes:
        path = self._path / name
        _require_small(path, path.stat().st_size, most)
        return path.read_bytes()


class _Zip:
    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self._path, self._file = path, file

    def names(self) -> list[str]:
        return self._file.namelist()

    def read(self, name: str, most: int) -> bytes:
        info = self._file.getinfo(name)
        _require_small(self._path / name, info.file_size, most)
        try:
            return self._file.read(info)
        except _DAMAGED as error:
            raise ModelFileError(f"{self._path}: {name} in it is damaged ({error}); give another copy of it") from None


def _require_small(path: Path, size: int, most: int) -> None:
    if size > most:
        raise ModelFileError(f"{path}: has {size} bytes, at most {most} are expected; this is no package of a model")


@contextmanager
def _opened(package: Path) -> Iterator[_Package]:
    if package.is_dir():
        yield _Folder(package)
        return
    if not package.is_file():
        raise MissingFileError(f"{package}: no such file; give a .zip of the bioimage.io format, or its folder")
    try:
        file = zipfile.ZipFile(package)
    except _DAMAGED as error:
        raise ModelFileError(
            f"{package}: not a readable .zip ({error}); expected a package of the bioimage.io format"
        ) from None
    with file:
        yield _Zip(package, file)


def _description(package: Path, files: _Package) -> Mapping[str, Any]:
    name = next((name for name in _DESCRIPTIONS if name in files.names()), None)
    if name is None:
        raise ModelFileError(
            f"{package}: there is no {_DESCRIPTIONS[0]} in it; expected a package of the bioimage.io format"
        )
    try:
        content = yaml.safe_load(files.read(name, _LONGEST_DESCRIPTION))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{package}: its {name} is damaged ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, Mapping) or content.get("type") != "model":
        raise ModelFileError(f"{package}: its {name} does not describe a model; give the package of one")
    return content


def _ours(package: Path, described: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and SHA-256 of the model file in a package that superres wrote; refuse others with what they lack."""
    ours = _mapping(_mapping(described.get("config")).get("superres"))
    name, sha256 = str(ours.get("model", "")), str(ours.get("sha256", ""))
    if name and sha256 and PurePosixPath(name).name == name:
        return name, sha256
    raise InputError(
        f"{package}: holds {_held(described)}, and no model file of superres (config.superres in its description). "
        "superres runs its own nets: of another it knows neither how far it sees, nor on what grid it may be cut, nor "
        "when it is not to be believed. Run it with bioimageio.core (bioimageio predict), or take a package that "
        "'superres models export' wrote"
    )


def _held(described: Mapping[str, Any]) -> str:
    weights = _mapping(described.get("weights"))
    source = _mapping(_mapping(weights.get("pytorch_state_dict")).get("architecture"))
    of = f" of {source['callable']}" if source.get("callable") else ""
    return f"{' and '.join(map(str, weights)) or 'no'} weights{of}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
