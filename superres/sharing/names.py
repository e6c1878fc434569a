"""What a model is called: a name in the package, a file, a run folder, or an address on the web."""

from __future__ import annotations

import difflib
import re
import warnings
from pathlib import Path

from superres.errors import MissingFileError
from superres.progress import ProgressCallback, silent
from superres.sharing.addresses import downloaded, is_address

BOX = Path(__file__).parent / "models"
"""The folder of the models in the package."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LISTED = 3


def bundled_models() -> dict[str, Path]:
    """Return the models in the package, by name; there may be none."""
    return {path.stem: path for path in sorted(BOX.glob("*.safetensors"))}


def find_model(text: str | Path, *, progress: ProgressCallback = silent) -> Path:
    """Return the file or run folder of a model.

    Parameters
    ----------
    text : str or Path
        The name of a model in the package; a ``.safetensors`` file or a run folder; ``https://...`` or
        ``hf://owner/repository/file`` (``hf://owner/repository@revision/file``). An address may end with
        ``#sha256=...``, the SHA-256 of the file, and must with ``http://``. What was downloaded under an address before
        is taken from the cache, without a network. A name wins over a file or folder called so; ``./name`` is that.
    progress : callable, optional
        Hears of a download.

    Raises
    ------
    MissingFileError
        When nothing is called so; the message has the closest names.
    InputError
        When an address is none, or its file has another SHA-256.
    OutputWriteError
        When it cannot be reached, or not be kept.
    ModelFileError
        When what was downloaded is no model; nothing of it is kept.
    """
    written = str(text).strip()
    if is_address(written):
        return downloaded(written, progress)
    path, bundled = Path(written), bundled_models().get(written)
    if bundled is not None:
        if path.exists():
            said = f"{written}: the model in the package is taken; write ./{written} for what is called so here"
            warnings.warn(said, stacklevel=2)
        return bundled
    if not written or not path.exists():
        raise MissingFileError(f"{written}: no such model file, run folder or model in the package; {_known(written)}")
    return path


def _known(text: str) -> str:
    """Say what could be typed in the place of a name that is none."""
    names = list(bundled_models())
    if not names:
        return "this package holds no models: give the path of a .safetensors file or of a run folder"
    if not _NAME.fullmatch(text) or text.endswith(".safetensors"):
        return f"give the path of a .safetensors file or of a run folder, or one of {', '.join(names)}"
    close = difflib.get_close_matches(text.lower(), names, n=_LISTED, cutoff=0.4)
    near = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{near}The package holds {', '.join(names)}"
