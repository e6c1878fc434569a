"""What a worker does for the Train widget first: a recipe for the images that were chosen.

For sharp images it is the recipe that ``superres train --images`` writes; for pairs one that learns from them as they
are; for marks on a result one that trains its model on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superres.plugin import marks_task
from superres.plugin.pair_manifest import Image, Pair, factor_of, write_pairs
from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback

_OURS, _CROPS = ("recipe.yaml", "manifest.yaml", "microscope.yaml"), "crops"
_TIME_FOR_PAIRS = "30min"
_HEAD = """\
# Recipe for pairs of a recording and its sharp image
#
# Written by superres. Nothing is simulated: the recording goes in, the sharp image is what the net has to produce, on
# the grey scale of the recording. Change what you know better, and train.

"""


def request_for_images(
    images: Sequence[str],
    factor: Sequence[int],
    out: Path,
    *,
    low: Sequence[str],
    axes: str | None,
    given: Sequence[str],
) -> dict[str, Any]:
    """Return what to ask a worker for: a recipe for sharp images, of which recordings are made.

    Parameters
    ----------
    images : sequence of str
        Folders, patterns or files.
    factor : sequence of int
        ZYX.
    out : Path
        The run folder.
    low : sequence of str
        Recordings that the degradation is fitted to; none for one that is chosen by the images.
    axes : str or None
        Where the files do not tell.
    given : sequence of str
        Settings that win, ``"model.preset=S"``.
    """
    content = {"images": list(images), "factor": list(factor), "low": list(low), "axes": axes}
    return {"kind": "recipe", "out": str(out), "given": list(given), **content}


def request_for_pairs(pairs: Sequence[tuple[Image, Image]], out: Path, *, given: Sequence[str]) -> dict[str, Any]:
    """Return what to ask a worker for: a recipe for pairs, low and high. Of several the last is kept to validate."""
    content = [[low.to_json(), high.to_json()] for low, high in pairs]
    return {"kind": "recipe", "out": str(out), "given": list(given), "pairs": content}


def run(asked: Request, progress: ProgressCallback, tell: Tell) -> dict[str, Any]:
    """Write recipe and manifest into the run folder; with ``replace`` in the place of others that no training used.

    Returns
    -------
    dict
        ``recipe``, the file; ``text``, what is in it; ``notes``, what a person should know; ``expected``, the seconds
        that the training will take, None where that is not known; ``seconds``.
    """
    progress(Progress("start", 0, 0, note="starting"))
    out = Path(asked["out"])
    if asked.get("replace") and not (out / "config.yaml").exists():
        for name in _OURS:
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / _CROPS, ignore_errors=True)
    found = _found(asked, out, progress)
    text = (out / "recipe.yaml").read_text(encoding="utf-8")
    return {"recipe": str(out / "recipe.yaml"), "text": text, "warnings": [], "seconds": 0.0} | found


def _found(asked: Request, out: Path, progress: ProgressCallback) -> dict[str, Any]:
    if "marks" in asked:
        _refuse_others(out)
        return marks_task.write(asked, out, progress)
    return _for_pairs(asked, out) if "pairs" in asked else _for_images(asked, out, progress)


def _refuse_others(out: Path) -> None:
    from superres.errors import OutputExistsError

    for name in ("recipe.yaml", "manifest.yaml", "config.yaml"):
        if (out / name).exists():
            raise OutputExistsError(f"{out / name}: is there already; give another run folder, or remove it")


def _for_images(asked: Request, out: Path, progress: ProgressCallback) -> dict[str, Any]:
    from superres.training import configure

    factor = tuple(asked["factor"])
    assert len(factor) == 3
    made = configure(
        asked["images"],
        factor,
        out,
        low=asked["low"],
        axes=asked["axes"],
        overrides=asked["given"],
        progress=progress,
    )
    return {"notes": [*made.notes, *made.left_out], "expected": made.seconds}


def _for_pairs(asked: Request, out: Path) -> dict[str, Any]:
    from superres.config import TrainConfig, dump_config, load_config
    from superres.datasets.folder_manifest import unique_ids
    from superres.errors import InputError
    from superres.training.recipe_text import write_recipe

    _refuse_others(out)
    pairs = [(Image(**low), Image(**high)) for low, high in asked["pairs"]]
    factors = {factor_of(low, high) for low, high in pairs}
    if len(factors) > 1:
        told = " and ".join(str(list(factor)) for factor in sorted(factors))
        raise InputError(f"the pairs differ by factors of {told} (ZYX); one net learns one factor: choose those of one")
    kept = len(pairs) - 1 if len(pairs) > 1 else len(pairs)
    listed = [Pair(low, high, "train" if i < kept else "val") for i, (low, high) in enumerate(pairs)]
    manifest = write_pairs(out / "manifest.yaml", listed)
    has_length = any(one.startswith(("steps=", "time_budget=")) for one in asked["given"])
    config = load_config(
        TrainConfig,
        None,
        asked["given"],
        name=unique_ids([out.resolve().name])[0],
        manifests=str(manifest),
        factor=factors.pop(),
        time_budget=None if has_length else _TIME_FOR_PAIRS,
    )
    write_recipe(out / "recipe.yaml", _HEAD + dump_config(config))
    notes = [] if len(pairs) > 1 else ["There is one pair only, so nothing can be validated on another."]
    return {"notes": notes, "expected": config.time_budget}
