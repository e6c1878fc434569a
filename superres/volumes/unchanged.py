"""A file must be the same while it is read as it was when it was opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from superres.errors import InputError


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and modification time of a file when it was opened.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Bytes.
    mtime_ns : int
        Time of the last change.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Note the present state of a file."""
        state = path.stat()
        return cls(path, state.st_size, state.st_mtime_ns)

    def check(self) -> None:
        """Compare with the present state.

        Raises
        ------
        InputError
            When the file was written to, replaced or removed.
        """
        try:
            state = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.path}: vanished since it was opened ({error.strerror}); put it back") from None
        if (state.st_size, state.st_mtime_ns) != (self.size, self.mtime_ns):
            raise InputError(
                f"{self.path}: changed since it was opened ({self.size} bytes then, {state.st_size} bytes now); "
                "wait until it is completely written and open it again"
            )
