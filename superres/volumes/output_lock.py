"""Who writes an output: one whole run, or parts of one division, each held by a lock that dies with its process.

The locks are those of the operating system (`flock`), on small files beside the store's records, so that a killed
process holds nothing up; what stands in the files only tells people who holds them. NFS passes such locks on between
hosts. Where a file system has none, the output is written all the same: a shard written twice has the same bytes.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from superres.errors import OutputInUseError, OutputWriteError
from superres.volumes.records import records_folder

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
# Those that end look for a moment whether others are there.
_PATIENCE = 0.5
NO_LOCKS = "the file system of the output has no locks: that no other run writes it could not be checked"


class OutputLock:
    """Keeps others from writing an output; a context manager.

    Parameters
    ----------
    path : Path
        The store.
    part : tuple of int, optional
        Which part of how many, from 1; without it the whole output is locked. Parts go together with other parts of
        the same division and with nothing else.

    Attributes
    ----------
    works : bool
        Whether the file system has locks; known once it is entered.
    """

    def __init__(self, path: Path, part: tuple[int, int] | None = None) -> None:
        self._path = path.resolve() if path.name in ("", "..") else path
        self._folder = records_folder(self._path)
        self._part = part
        self._held: dict[str, int] = {}
        self.works = fcntl is not None

    def __enter__(self) -> Self:
        """Take the lock.

        Raises
        ------
        OutputInUseError
            When another process holds it; the message says which.
        OutputWriteError
            When the lock cannot be written.
        """
        try:
            self._take("lock", shared=self._part is not None)
            if self._part is not None:
                self._take(_name_of(self._part), shared=False)
                self._refuse_other_divisions()
        except OutputInUseError:
            self._release()
            raise
        except OSError as error:
            self._release()
            raise OutputWriteError(
                f"{self._folder}: cannot be written ({error.strerror}); give another --out"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """Hold a further lock, where no other process holds it; whether that is so is what is given."""
        try:
            self._take(f"lock.{what}", shared=False)
        except OutputInUseError:
            yield False
            return
        try:
            yield True
        finally:
            self._drop(f"lock.{what}")

    def _take(self, name: str, *, shared: bool) -> None:
        """Lock a file of the folder, and write into it who holds it where it is not shared."""
        ends = time.monotonic() + _PATIENCE
        while name not in self._held:
            with suppress(FileNotFoundError):  # the folder may be deleted by one that has just ended
                self._folder.mkdir(parents=True, exist_ok=True)
                self._try(name, shared=shared)
            if name not in self._held and time.monotonic() > ends:
                raise self._in_use()
        if not shared:
            who = {"host": platform.node(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            os.truncate(self._held[name], 0)
            os.pwrite(self._held[name], json.dumps(who).encode(), 0)

    def _try(self, name: str, *, shared: bool) -> None:
        file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        locked = self._lock(file, shared=shared)
        # Its last holder may have deleted it since it was opened.
        if locked and _is_file_of(self._folder / name, file):
            self._held[name] = file
            return
        os.close(file)
        if not locked:
            time.sleep(_PATIENCE / 5)

    def _lock(self, file: int, *, shared: bool) -> bool:
        if not self.works:
            return True
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            self.works = False
        return True

    def _refuse_other_divisions(self) -> None:
        assert self._part is not None
        ending = _name_of(self._part).partition("-of-")[2]
        for path in self._folder.glob("lock.*-of-*"):
            if not path.name.endswith(f"-of-{ending}") and self._is_held(path):
                raise self._in_use()

    def _is_held(self, path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not self._lock(file, shared=False)
        finally:
            os.close(file)

    def _in_use(self) -> OutputInUseError:
        own = None if self._part is None else _name_of(self._part)
        parts = sorted(path for path in self._folder.glob("lock.*-of-*") if path.name != own or own not in self._held)
        holders = [path for path in parts if self._is_held(path)] or [self._folder / "lock"]
        told = "; ".join(_who(path) for path in holders[:3]) + ("; ..." if len(holders) > 3 else "")
        return OutputInUseError(
            f"{self._path}: is being written by another run ({told}); wait until it has ended, stop it, or give "
            "another --out"
        )

    def _release(self) -> None:
        """Delete the files that nobody else holds, and let go."""
        for name in [name for name in self._held if name != "lock"]:
            self._drop(name)
        gate = self._held.get("lock")
        with suppress(OSError):
            if gate is not None and self._lock(gate, shared=False):
                for left in self._folder.glob("lock.*"):
                    left.unlink(missing_ok=True)
                self._drop("lock")
                self._folder.rmdir()  # fails, as it should, where there are records
        if "lock" in self._held:
            os.close(self._held.pop("lock"))

    def _drop(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)
        os.close(self._held.pop(name))


def _name_of(part: tuple[int, int]) -> str:
    return f"lock.{part[0]}-of-{part[1]}"


def _is_file_of(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _who(path: Path) -> str:
    """Say who holds a lock, as its file tells."""
    part = path.name.removeprefix("lock").removeprefix(".").replace("-of-", "/")
    what = f"part {part}, " if part else ""
    try:
        held = json.loads(path.read_text())
        return f"{what}process {held['process']} on {held['host']}, since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{what}a process that could not be named"
