"""Models on the web: downloaded once into the cache folder of this user, and read from there afterwards."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from superres.errors import InputError, ModelFileError, OutputWriteError
from superres.modelfile import read_model_header
from superres.progress import ProgressCallback

_HUB = "https://huggingface.co"
# A path of pathlib has lost one of the slashes.
_BEGINNING = re.compile(r"(https?|hf):/{1,2}(?=[^/])")
_ON_THE_HUB = re.compile(r"hf://([^/@]+)/([^/@]+)(?:@([^/]+))?/(.+)")
_CHECKSUM = re.compile(r"sha256=([0-9a-fA-F]{64})")
_BY_HAND = "fetch the file by hand and give its path: --model FILE.safetensors"


@dataclass(frozen=True, slots=True)
class _Address:
    """A model on the web: as it was given, where it is downloaded from, and its SHA-256 where that was given."""

    given: str
    url: str
    sha256: str | None

    @property
    def place(self) -> Path:
        """Its file in the cache."""
        key = hashlib.sha256(f"{self.url}#{self.sha256 or ''}".encode()).hexdigest()[:16]
        name = Path(unquote(urlsplit(self.url).path)).name or "model"
        return cache_folder() / key / f"{name.removesuffix('.safetensors')}.safetensors"


def is_address(text: str) -> bool:
    """Say whether a text is an address, and not a name or a path."""
    return _BEGINNING.match(text) is not None


def cache_folder() -> Path:
    """Return where downloaded models are kept."""
    from pooch.utils import os_cache

    return Path(os_cache("superres")) / "models"


def downloaded(text: str, progress: ProgressCallback) -> Path:
    """Return the file of an address: from the cache, or downloaded, checked, and only then put there.

    Raises
    ------
    InputError, OutputWriteError, ModelFileError
        As `superres.sharing.find_model`.
    """
    address = _read(text)
    from superres.datasets.checksum import file_sha256

    place = address.place
    if place.is_file() and address.sha256 in (None, file_sha256(place)):
        return place
    arriving = place.with_name(place.name + ".unchecked")
    arriving.unlink(missing_ok=True)
    digest = _download(address, arriving, progress)
    try:
        read_model_header(arriving)
    except ModelFileError as error:
        arriving.unlink()
        reason = str(error).removeprefix(f"{arriving}: ")
        raise ModelFileError(f"{address.given}: {reason}; nothing of it was kept") from None
    arriving.replace(place)
    if address.sha256 is None:
        said = (
            f"{address.given}: kept as {place}; with #sha256={digest} behind the address it can only be this very file"
        )
        warnings.warn(said, stacklevel=3)
    return place


def _download(address: _Address, arriving: Path, progress: ProgressCallback) -> str:
    """Download, and tell of errors as a person who wants a model needs them; return the SHA-256."""
    from superres.datasets.download import UnreachableError, Wanted, download

    try:
        return download(Wanted(address.url, arriving, address.sha256), progress=progress)
    except UnreachableError as error:
        raise OutputWriteError(
            f"{address.given}: {_reason(error)}. Without a network take a model that is here ('superres models list' "
            f"shows those in the package), or {_BY_HAND}"
        ) from None
    except InputError as error:
        reason = _reason(error)
        advice = reason if "SHA-256" in reason else f"{reason.partition(';')[0]}; check the address, or {_BY_HAND}"
        raise InputError(f"{address.given}: {advice}") from None


def _reason(error: Exception) -> str:
    """Return a message without the path or address that it begins with."""
    return str(error).partition(": ")[2]


def _read(text: str) -> _Address:
    """Read an address.

    Raises
    ------
    InputError
        Saying what is wrong with it, and what to type.
    """
    text = _BEGINNING.sub(r"\1://", text, count=1)
    url, mark, fragment = text.partition("#")
    checksum = _CHECKSUM.fullmatch(fragment)
    if mark and checksum is None:
        raise InputError(f"{text}: '#{fragment}' is not understood; a checksum is #sha256= and 64 digits from 0 to f")
    sha256 = None if checksum is None else checksum[1].lower()
    if url.startswith("hf://"):
        return _Address(text, _hub_url(url), sha256)
    if url.startswith("http://") and sha256 is None:
        raise InputError(f"{text}: what comes by http:// can be changed on its way; give https://, or add #sha256=...")
    return _Address(text, url, sha256)


def _hub_url(text: str) -> str:
    match = _ON_THE_HUB.fullmatch(text)
    if match is None:
        raise InputError(f"{text}: expected hf://owner/repository/file, such as hf://lab/models/em.safetensors")
    owner, repository, revision, file = match.groups()
    return f"{_HUB}/{owner}/{repository}/resolve/{revision or 'main'}/{file}"
