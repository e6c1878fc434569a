"""Done-records: one small file per shard, beside the store, written after the shard.

A record names the size and the crc32c of the shard's file; a shard without a valid record counts as not written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c

from superres.volumes.whole_files import write_whole

_BLOCK = 2**22


@dataclass(frozen=True, slots=True)
class Record:
    """Size in bytes and crc32c of a finished shard's file, and what its writer counted in it."""

    size: int
    crc32c: str
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Iterable[bytes]) -> Record:
        """Measure a file by its parts."""
        size = checksum = 0
        for part in content:
            size += len(part)
            checksum = google_crc32c.extend(checksum, part)
        return cls(size, f"{checksum:08x}")


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
            counts = {str(name): int(count) for name, count in content.get("counts", {}).items()}
            return Record(int(content["size"]), str(content["crc32c"]), counts)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def store(self, level: int, position: tuple[int, ...], record: Record) -> None:
        """Record that a shard is finished."""
        content: dict[str, Any] = {"unit": list(position), "level": level, "size": record.size, "crc32c": record.crc32c}
        if record.counts:
            content["counts"] = dict(record.counts)
        # One that a power failure leaves empty is none, and its shard is written again.
        write_whole(self.path(level, position), [json.dumps(content).encode()], durable=False)

    def is_done(self, level: int, position: tuple[int, ...], shard: Path) -> bool:
        """Whether a shard is there, with a record of its size."""
        record = self.load(level, position)
        try:
            return record is not None and shard.stat().st_size == record.size
        except FileNotFoundError:
            return False

    def problem(self, level: int, position: tuple[int, ...], shard: Path) -> str | None:
        """Compare a shard with its record, byte for byte; say what is wrong, None where all is well."""
        record = self.load(level, position)
        if record is None:
            return "has no done-record"
        if not shard.is_file():
            return "missing"
        if shard.stat().st_size != record.size:
            return f"{shard.stat().st_size} bytes found, {record.size} recorded"
        if file_crc32c(shard) != record.crc32c:
            return "its checksum differs from the recorded one"
        return None


def records_folder(path: Path) -> Path:
    """Return the folder beside a store that holds its records, one folder per fingerprint."""
    return path.with_name(path.name + ".records")


def file_crc32c(path: Path) -> str:
    """Return the crc32c of a file, in hex."""
    with path.open("rb") as file:
        return Record.of(iter(lambda: file.read(_BLOCK), b"")).crc32c
