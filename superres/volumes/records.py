"""Done-records: one small file per shard, beside the store, written after the shard.

A record names the size and the crc32c of the shard's file; a shard without a valid record counts as not written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

_BLOCK = 2**22


@dataclass(frozen=True, slots=True)
class Record:
    """Size in bytes and crc32c of a finished shard's file."""

    size: int
    crc32c: str


class Records:
    """The records of one store and fingerprint.

    Parameters
    ----------
    folder : Path
        ``<name>.records/<fingerprint>``, beside the store: inside it, a copied store would skip work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, level: int, position: tuple[int, ...]) -> Path:
        """Return the record file of a shard."""
        return self.folder / str(level) / (".".join(map(str, position)) + ".json")

    def load(self, level: int, position: tuple[int, ...]) -> Record | None:
        """Read a record; None where there is none or it is damaged."""
        try:
            content = json.loads(self.path(level, position).read_text())
            return Record(int(content["size"]), str(content["crc32c"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def store(self, level: int, position: tuple[int, ...], shard: Path) -> None:
        """Record that `shard` is finished, as it now stands on the disk."""
        content = {"unit": list(position), "level": level, "size": shard.stat().st_size, "crc32c": file_crc32c(shard)}
        write_whole(self.path(level, position), json.dumps(content).encode())


def records_folder(path: Path) -> Path:
    """Return the folder beside a store that holds its records, one folder per fingerprint."""
    return path.with_name(path.name + ".records")


def file_crc32c(path: Path) -> str:
    """Return the crc32c of a file, in hex."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = google_crc32c.extend(checksum, block)
    return f"{checksum:08x}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once: a reader, or the next run, sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
