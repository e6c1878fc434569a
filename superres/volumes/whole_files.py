"""Files that are written whole or not at all: under another name, as a rule made durable, then renamed.

So a reader never sees a part of one, and several processes need no lock.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_STRAY = re.compile(r".*\.(?P<host>[^.]+)\.(?P<process>\d+)\.\d+\.partial")
_STRAY_SUFFIXES = (".partial", ".__lock")
# A writer on another machine cannot be asked whether it lives; no file takes this long to write.
_ABANDONED_SECONDS = 3600.0


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing and reading that gets its name, replacing what has it, when the block ends well.

    Parameters
    ----------
    path : Path
        The file.
    durable : bool
        Whether it is on the disk before it gets its name. Without that a power failure, and nothing else, may leave an
        empty file for some seconds after: enough for what is checked when it is read, and made again where it is bad.

    Raises
    ------
    OSError
        When it cannot be written; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        with partial.open("w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: Iterable[bytes], *, durable: bool = True) -> None:
    """Write the parts of a file at once: a reader, or the next run, sees all of it or nothing; see `whole_file`."""
    with whole_file(path, durable=durable) as file:
        file.writelines(content)


def partial_name(path: Path) -> Path:
    """Name the unfinished file that will become `path`, after the process and thread that write it."""
    host = socket.gethostname().replace(".", "-") or "host"
    return path.with_name(f"{path.name}.{host}.{os.getpid()}.{threading.get_ident()}.partial")


def remove_strays(candidates: Iterable[Path]) -> None:
    """Delete those unfinished files whose writers are gone."""
    for path in list(candidates):
        if path.name.endswith(_STRAY_SUFFIXES) and path.is_file() and not _is_being_written(path):
            path.unlink(missing_ok=True)


def _is_being_written(path: Path) -> bool:
    match = _STRAY.fullmatch(path.name)
    if match is None:
        return False
    if match["host"] == (socket.gethostname().replace(".", "-") or "host"):
        return _is_alive(int(match["process"]))
    try:
        return time.time() - path.stat().st_mtime < _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
