"""Downloading one large file: resumed where it broke off, checked before it gets its name, never written over another.

pooch, which knows the repositories behind a DOI, starts every download anew; sets of many gigabytes need more than
that. What has arrived is kept beside the target as ``NAME.part``, with a note of what the server called that version.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superres.datasets.checksum import file_sha256
from superres.errors import InputError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent

_BLOCK = 2**20
_TIMEOUT = 60.0  # seconds without a byte
_PAUSES = (1.0, 4.0, 15.0, 60.0)  # seconds before each further try; one that got further starts them again
_PAUSES_AT_FIRST = (1.0, 4.0)  # as long as the server never answered; mostly there is no network then
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to download: where it is, what it is to be, and what is known of it."""

    url: str
    target: Path
    sha256: str | None = None
    size: int | None = None

    @property
    def part(self) -> Path:
        """Where the bytes are kept until all are there."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def note(self) -> Path:
        """Where it is noted which version of the file the server began to send."""
        return self.target.with_name(self.target.name + ".part.json")


class UnreachableError(OutputWriteError):
    """A server does not answer, or its answers keep breaking off; what has arrived is kept."""


class _BrokenOffError(Exception):
    """The connection ended early, or (`at_first`) there never was one; what has arrived is kept."""

    def __init__(self, reason: str, *, at_first: bool = False) -> None:
        super().__init__(reason)
        self.at_first = at_first


def download(wanted: Wanted, *, progress: ProgressCallback = silent) -> str:
    """Download a file, or the rest of it, check it, and give it its name.

    Parameters
    ----------
    wanted : Wanted
        What to download; its target must not exist.
    progress : callable, optional
        Gets events of the stage ``"fetch"`` in MB.

    Returns
    -------
    str
        SHA-256 of what arrived; the one that was wanted, where one was.

    Raises
    ------
    InputError
        When the server refuses or has another file, the address gives a web page, or the checksum is another.
    UnreachableError
        When the connection keeps breaking, or there is none; what has arrived is kept for the next time.
    OutputWriteError
        When the file cannot be written.
    """
    url = _resolve(wanted.url)
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _size(wanted.part) > 0
        _fetch_all(wanted, url, progress)
        digest = file_sha256(wanted.part)
        if resumed and wanted.sha256 not in (None, digest):  # the old beginning may be of another version
            _forget(wanted)
            _fetch_all(wanted, url, progress)
            digest = file_sha256(wanted.part)
        if wanted.sha256 not in (None, digest):
            _forget(wanted)
            raise InputError(
                f"{wanted.target}: SHA-256 of what {wanted.url} sent is {digest}, expected {wanted.sha256}; it was "
                "deleted. Try again; if it stays so, the file behind the address was changed: ask its authors"
            )
        wanted.part.replace(wanted.target)
        wanted.note.unlink(missing_ok=True)
    except OutputWriteError:
        raise  # is an OSError too, and says already what is the matter
    except OSError as error:
        raise OutputWriteError(f"{wanted.target}: cannot be written ({error}); free some space and try again") from None
    return digest


def _resolve(url: str) -> str:
    """Turn ``doi:10.5281/zenodo.1234/name.zip`` into the address of the file, by asking the repository."""
    if not url.startswith("doi:"):
        return url
    from pooch.downloaders import doi_to_repository
    from pooch.utils import parse_url

    parts = parse_url(url)
    try:
        repository = doi_to_repository(parts["netloc"])  # type: ignore[no-untyped-call]
        return str(repository.download_url(parts["path"].lstrip("/")))
    except (ValueError, OSError) as error:
        raise InputError(f"{url}: this DOI leads to no file ({error}); check it, or give the https address") from None


def _fetch_all(wanted: Wanted, url: str, progress: ProgressCallback) -> None:
    """Fetch until everything is there, trying again where the connection breaks."""
    failures = 0
    while True:
        before = _size(wanted.part)
        try:
            _fetch_once(wanted, url, progress)
            return
        except _BrokenOffError as error:
            kept = _size(wanted.part)
            failures = 1 if kept > before else failures + 1
            pauses = _PAUSES_AT_FIRST if error.at_first else _PAUSES
            if failures > len(pauses):
                what = "there is no connection to" if error.at_first else "the connection breaks off to"
                raise UnreachableError(
                    f"{wanted.target}: {what} {url} ({error}); {kept / _MB:.1f} MB are kept, and the same command goes "
                    "on from there"
                ) from None
            note = f"{wanted.target.name}: {error}; trying again in {pauses[failures - 1]:.0f} s"
            progress(Progress("fetch", kept / _MB, kept / _MB + 1, "MB", note))
            time.sleep(pauses[failures - 1])


def _fetch_once(wanted: Wanted, url: str, progress: ProgressCallback) -> None:
    start = _size(wanted.part)
    try:
        with _answer(wanted, url, start) as answer:
            if answer is None:
                return  # all was there
            first, total = _extent(answer, start)
            _check_answer(wanted, answer, total)
            _note(wanted, answer)
            with wanted.part.open("r+b" if first else "wb") as out:
                out.seek(first)
                _receive(wanted, answer, out, total, progress)
    except urllib.error.URLError as error:
        raise _BrokenOffError(_reason(error), at_first=True) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _BrokenOffError(_reason(error)) from None


@contextlib.contextmanager
def _answer(wanted: Wanted, url: str, start: int) -> Iterator[Any]:
    """Open the address, from the byte `start` on if it is still the same version; yield None if nothing is missing."""
    request = urllib.request.Request(url, headers={"User-Agent": "superres", "Accept-Encoding": "identity"})
    version = _noted(wanted)
    if start and (version or wanted.sha256):
        request.add_header("Range", f"bytes={start}-")
        if version:
            request.add_header("If-Range", version)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and _total(error.headers.get("Content-Range", "")) == start:
                yield None
                return
            if error.code == 416:
                _forget(wanted)
                raise _BrokenOffError("the file has become shorter") from None
            if error.code == 429 or error.code >= 500:
                raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from None
            raise InputError(
                f"{wanted.url}: the server answers {error.code} {error.reason}; open the address in a browser, and "
                "correct it in the manifest or fetch the file by hand"
            ) from None
    with answer:
        yield answer


def _extent(answer: Any, start: int) -> tuple[int, int | None]:
    """Return the place of the first byte that comes, and the size of the whole file where it is told."""
    if answer.status != 206:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    content = answer.headers.get("Content-Range", "")
    begun = re.match(r"bytes (\d+)-", content)
    if begun is None or int(begun[1]) != start:
        raise _BrokenOffError(f"asked from byte {start} on, got '{content}'")
    return start, _total(content)


def _total(content_range: str) -> int | None:
    found = re.search(r"/(\d+)$", content_range)
    return int(found[1]) if found else None


def _check_answer(wanted: Wanted, answer: Any, total: int | None) -> None:
    if answer.headers.get_content_type() == "text/html" and wanted.target.suffix not in (".html", ".htm"):
        raise InputError(
            f"{wanted.url}: this address gives a web page, not {wanted.target.name}; open it in a browser, fetch the "
            f"file by hand and put it at {wanted.target}"
        )
    if wanted.size is not None and total is not None and total != wanted.size:
        raise InputError(
            f"{wanted.url}: the server has {total} bytes, the manifest says {wanted.size}; the file behind the address "
            "was changed, or the manifest is wrong: compare with the page of the data set"
        )


def _receive(wanted: Wanted, answer: Any, out: Any, total: int | None, progress: ProgressCallback) -> None:
    limit = total if total is not None else wanted.size
    done = out.tell()
    while True:
        progress(Progress("fetch", done / _MB, (limit or done + _BLOCK) / _MB, "MB", wanted.target.name))
        block = answer.read(_BLOCK)
        if not block:
            break
        out.write(block)
        done += len(block)
        if limit is not None and done > limit:
            raise InputError(f"{wanted.url}: sends more than the {limit} bytes it announced; stopped")
    if limit is not None and done < limit:
        raise _BrokenOffError(f"{done} of {limit} bytes arrived")
    progress(Progress("fetch", done / _MB, done / _MB, "MB", wanted.target.name))


def _note(wanted: Wanted, answer: Any) -> None:
    """Note what the server calls this version; a weak ETag does not promise the same bytes."""
    tag = answer.headers.get("ETag") or ""
    version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified") or ""
    wanted.note.write_text(json.dumps({"url": wanted.url, "version": version}), encoding="utf-8")


def _noted(wanted: Wanted) -> str:
    try:
        note = json.loads(wanted.note.read_text(encoding="utf-8"))
        return str(note["version"]) if note["url"] == wanted.url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _forget(wanted: Wanted) -> None:
    wanted.part.unlink(missing_ok=True)
    wanted.note.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)
