"""A note beside a finished output that tells, without model and voxels, whether it is what is wanted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.volumes.records import records_folder
from superres.volumes.verification import root_attributes
from superres.volumes.whole_files import write_whole

_NAME = "finished.json"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished output was made from.

    Parameters
    ----------
    source : str
        Name of the input, without its place.
    identity : str
        Of the input (`superres.volumes.Volume.identity`).
    settings : str
        Digest of model, settings and version (`settings_digest`).
    parts : mapping
        Name of every store and file of the output, to its number of files and bytes.
    """

    source: str
    identity: str
    settings: str
    parts: Mapping[str, tuple[int, int]]


def settings_digest(settings: Mapping[str, Any], model: Path) -> str:
    """Digest all that decides an output besides its input: settings, the bytes of the model file, the version.

    Parameters
    ----------
    settings : mapping
        What can be written as JSON.
    model : Path
        Model file; a run folder stands for the one in it.
    """
    from superres import __version__

    path = model / "model.safetensors" if model.is_dir() else model
    facts = [__version__, dict(settings), hashlib.sha256(path.read_bytes()).hexdigest()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def note_finished(out: Path, parts: Sequence[Path], *, source: str, identity: str, settings: str) -> None:
    """Write the note of an output that was just finished; without it, an output is only looked at anew.

    Parameters
    ----------
    out : Path
        The store.
    parts : sequence of Path
        All that belongs to it, itself included; what is not there is left out.
    source, identity, settings : str
        As in `Finished`.
    """
    place = _place(out)
    if place is None:
        return
    sizes = {part.name: size for part in parts if (size := _size(part)) is not None}
    note = Finished(source, identity, settings, sizes)
    try:
        write_whole(place, [json.dumps(asdict(note)).encode()], durable=False)
    except OSError:
        return


def read_finished(out: Path) -> Finished | None:
    """Read the note of an output; None where it is not finished, was changed since, or there is none.

    Parameters
    ----------
    out : Path
        The store.
    """
    place = _place(out)
    if place is None:
        return None
    try:
        content = json.loads(place.read_text())
        parts = {str(name): (int(files), int(size)) for name, (files, size) in content.pop("parts").items()}
        note = Finished(**content, parts=parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    whole = parts and all(_size(out.with_name(name)) == size for name, size in parts.items())
    return note if whole else None


def _place(out: Path) -> Path | None:
    """Return where the note stands: with the records, which go when the store is replaced."""
    try:
        attributes, finished = root_attributes(out)
    except (InputError, OSError):
        return None
    own = attributes.get("superres")
    fingerprint = own.get("fingerprint") if isinstance(own, dict) else None
    if not finished or not isinstance(fingerprint, str) or not fingerprint.isalnum():
        return None
    return records_folder(out) / fingerprint / _NAME


def _size(path: Path) -> tuple[int, int] | None:
    """Return the number of files and their bytes, of a folder or file; None where there is nothing."""
    try:
        if not path.is_dir():
            return 1, path.stat().st_size
        files = size = 0
        with os.scandir(path) as entries:
            for entry in entries:
                inner = _size(Path(entry.path)) if entry.is_dir() else (1, entry.stat().st_size)
                files, size = files + (inner or (0, 0))[0], size + (inner or (0, 0))[1]
        return files, size
    except OSError:
        return None
