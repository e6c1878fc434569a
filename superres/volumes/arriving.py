"""Folders that are still being filled: which images in them are complete, and which are not yet.

The folders are listed again and again, because a network share tells nobody what another machine writes. An image is
complete when its size and time of change have stayed the same for long enough, when it opens and its last voxels can be
read (`superres.volumes.complete`), and when the file that says so is there, where one is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from superres.config import WatchConfig
from superres.errors import MissingFileError
from superres.volumes.collection import Found, counted_name, gather, search, series_key
from superres.volumes.complete import Signature, is_marked, why_incomplete
from superres.volumes.opening import split_part


@dataclass(frozen=True, slots=True)
class Waiting:
    """An image that is not complete yet.

    Parameters
    ----------
    path : Path
        File or store.
    name : str
        As `superres.volumes.collection.Found.name`.
    reason : str
        What is missing.
    seconds : float
        Since it was first seen, or since it began to change again.
    """

    path: Path
    name: str
    reason: str
    seconds: float


@dataclass(slots=True)
class _Seen:
    """What is known of a file or store; times are those of the clock, seconds."""

    name: str
    signature: Signature
    first: float
    since: float
    looks: int = 1
    reason: str = "just seen"
    looked_into: float = float("-inf")
    handed: Signature | None = None

    def look(self, signature: Signature, now: float) -> None:
        """Take note of what it is like now."""
        if signature == self.signature:
            self.looks += 1
            return
        if self.handed == self.signature:
            self.first = now
        self.signature, self.since, self.looks, self.looked_into = signature, now, 1, float("-inf")

    @property
    def is_new(self) -> bool:
        """Whether it was not handed out as it is now."""
        return self.handed != self.signature


class Arrivals:
    """The images of folders that are being filled.

    Parameters
    ----------
    folders : sequence of Path
        Searched with their sub-folders at every look.
    settings : WatchConfig
        When an image is complete.
    leave_out : sequence of Path
        Folders that are not searched, such as the one that results go to.
    axes, voxel_size
        Of every image, as for `superres.volumes.open_volume`.
    clock : callable
        Gives seconds.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        settings: WatchConfig,
        *,
        leave_out: Sequence[Path] = (),
        axes: str | None = None,
        voxel_size: Sequence[float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise MissingFileError(f"{folder}: no such folder; --watch follows folders, make it first")
        self._folders, self._settings, self._leave_out = folders, settings, leave_out
        self._axes, self._voxel_size, self._clock = axes, voxel_size, clock
        self._seen: dict[Path, _Seen] = {}
        self.last_news = clock()
        """When anything changed in the folders last, by the clock."""

    def look(self) -> tuple[Found, ...]:
        """Look once; return the images that are complete and were not returned before as they are now.

        One of several images in a file that opens is returned with its error, where it has one.

        Raises
        ------
        InputError
            When a folder cannot be read, or holds too many files.
        """
        self._list()
        now, settle = self._clock(), self._settings.settle
        settled = {path for path, seen in self._seen.items() if self._has_settled(path, seen)}
        # What is known not to be whole is looked into now and then: a file that it needs may have come.
        if not any(now - self._seen[path].looked_into >= settle for path in settled):
            return ()
        for path in settled:
            self._seen[path].looked_into = now
        kinds = {counted_name(path) for path in settled} - {None}
        # A plane that comes late belongs to a series that was complete without it.
        together = [path for path in self._seen if path in settled or counted_name(path) in kinds]
        files = [(str(path), self._seen[path].name) for path in together]
        found = gather(files, axes=self._axes, voxel_size=self._voxel_size)
        return tuple(one for one in found if self._hand_out(one, settled))

    def put_back(self, one: Found) -> None:
        """Return an image that was handed out, to have it again after another while."""
        for path in self._members(one):
            self._seen[path].handed, self._seen[path].looked_into = None, self._clock()

    def waiting(self) -> tuple[Waiting, ...]:
        """List the images that are not complete."""
        now = self._clock()
        return tuple(
            Waiting(path, seen.name, seen.reason, now - seen.first) for path, seen in self._seen.items() if seen.is_new
        )

    def _list(self) -> None:
        now = self._clock()
        listed: dict[Path, None] = {}
        for folder in self._folders:
            for address, name in search(folder, self._leave_out, apart=len(self._folders) > 1):
                path = Path(address)
                signature = Signature.of(path)
                if signature is None:
                    continue
                listed[path] = None
                seen = self._seen.get(path)
                if seen is None:
                    self._seen[path] = _Seen(name, signature, now, now)
                    self.last_news = now
                else:
                    self.last_news = self.last_news if seen.signature == signature else now
                    seen.look(signature, now)
        # In the order of the listing: what comes first gives a set of files its name.
        self._seen = {path: self._seen[path] for path in listed}

    def _has_settled(self, path: Path, seen: _Seen) -> bool:
        """Whether a file that was not handed out as it is now may be complete, as seen from outside."""
        now, settings = self._clock(), self._settings
        if not seen.is_new:
            return False
        if seen.looks < settings.polls or now - seen.since < settings.settle:
            seen.reason = "is still being written" if seen.looks < 2 else "has just been written"
            return False
        if settings.marker is not None and not is_marked(path, settings.marker):
            seen.reason = f"no file {settings.marker} beside it says that it is done"
            return False
        return True

    def _hand_out(self, one: Found, settled: Set[Path]) -> bool:
        """Decide about an image that was opened; note why not, or that it was returned."""
        members = [path for path in self._members(one) if path in self._seen]
        if not any(path in settled for path in members):
            return False
        if one.volume is None and split_part(one.path)[1] is not None:
            return True  # the others of its file open, so that waiting will not mend it
        reason = one.error or self._why_not(one, members, settled)
        for path in members:
            if reason is None:
                self._seen[path].handed = self._seen[path].signature
            elif self._seen[path].is_new:
                self._seen[path].reason = reason.removeprefix(f"{one.path}: ")
        return reason is None

    def _why_not(self, one: Found, members: Sequence[Path], settled: Set[Path]) -> str | None:
        assert one.volume is not None
        kind = None if series_key(one) is None else counted_name(Path(one.path))
        for path in [*members, *(self._others(kind) if kind is not None else ())]:
            if path not in settled and self._seen[path].is_new:
                return f"{path.name}, which belongs to it, is not complete"
        return why_incomplete(one.volume)

    def _others(self, kind: tuple[Path, str]) -> Iterator[Path]:
        return (path for path in self._seen if counted_name(path) == kind)

    def _members(self, one: Found) -> list[Path]:
        """Return the files and stores of an image that a look lists."""
        volume = one.volume
        candidates = [Path(split_part(one.path)[0]), *((volume.source, *volume.files) if volume is not None else ())]
        known = dict.fromkeys(path for path in candidates if path in self._seen)
        if known or volume is None:
            return list(known)
        return [path for path in self._seen if path.resolve() in {each.resolve() for each in candidates}]
