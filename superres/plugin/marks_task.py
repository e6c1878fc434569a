"""What a worker does for the Train widget before a model is trained on marks: it cuts them out and writes a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superres.plugin.pair_manifest import Image
from superres.plugin.worker import Request
from superres.progress import Progress, ProgressCallback

_HEAD = """\
# Recipe for a model that is trained on, by places that were marked on its result
#
# Written by superres. The places are in crops/: the recording goes in, the sharp image is what the net has to produce.
# {places}
# How often each is drawn stands in manifest.yaml as its weight. So that what the model knows stays, learning rates are
# a third of the usual ones, and the layers next to input and output learn first and those in the middle slowly
# (layer_rates). Change what you know better, and train.

"""


def request(
    images: Sequence[Image],
    out: Path,
    *,
    model: Path,
    marks: Sequence[Mapping[str, Any]],
    result: str | None,
    given: Sequence[str],
) -> dict[str, Any]:
    """Return what to ask a worker for: a recipe for marked places.

    Parameters
    ----------
    images : sequence of Image
        The recording and the sharp image.
    out : Path
        The run folder.
    model : Path
        That made the result.
    marks : sequence of mapping
        As `superres.plugin.marking.marks_on` returns them.
    result : str or None
        The result as a file, to see that this model made it; None where it is in no file.
    given : sequence of str
        Settings that win, ``"steps=500"``.
    """
    low, high = images
    asked = {"low": low.to_json(), "high": high.to_json(), "model": str(model), "result": result}
    return {"kind": "recipe", "out": str(out), "given": list(given), "marks": list(marks), **asked}


def write(asked: Request, out: Path, progress: ProgressCallback) -> dict[str, Any]:
    """Cut the places out, and write recipe and manifest; errors as from `superres.datasets.marked_pair.cut_marks`.

    Returns
    -------
    dict
        ``notes`` and ``expected``, as `superres.plugin.recipe_task.run` has them.
    """
    from superres.config import dump_config
    from superres.datasets.folder_manifest import unique_ids
    from superres.datasets.marked_crops import ImageChannel
    from superres.datasets.marked_pair import cut_marks
    from superres.datasets.marks import Mark
    from superres.training.recipe_text import write_recipe
    from superres.training.tuned import smallest_piece, tuning_config

    progress(Progress("start", 0, 0, note="looking at the model"))
    model = Path(asked["model"])
    _require_same_model(model, asked["result"])
    name = unique_ids([out.resolve().name])[0]
    config = tuning_config(model, out / "manifest.yaml", name=name, given=asked["given"])
    outlines = [tuple((y, x) for y, x in one["outline"]) for one in asked["marks"]]
    marks = [Mark(m["kind"], m["t"], m["z"], line) for m, line in zip(asked["marks"], outlines, strict=True)]
    low, high = (ImageChannel(**asked[role]) for role in ("low", "high"))
    found = cut_marks(
        low,
        high,
        marks,
        out,
        factor=config.factor,
        least=smallest_piece(config),
        rule=config.intensity,
        progress=progress,
    )
    wrong, right, elsewhere = (found.count(kind) for kind in ("wrong", "right", "elsewhere"))
    places = f"Learnt from: {wrong} marked as wrong, {right} as right. {elsewhere} elsewhere are only watched."
    write_recipe(out / "recipe.yaml", _HEAD.format(places=places) + dump_config(config))
    notes = [places]
    if not elsewhere:
        notes.append("No place is left that differs from the marked ones, so nothing can be validated.")
    if any(found.shift):
        moved = ", ".join(f"{s:+.2f}" for s in found.shift)
        notes.append(f"The sharp image was moved by {moved} of its voxels (Z, Y, X) to lie on the recording.")
    return {"notes": notes, "expected": config.time_budget}


def _require_same_model(model: Path, result: str | None) -> None:
    """Refuse a model that did not make the result, where the result tells which one did."""
    from superres.errors import InputError
    from superres.modelfile import load_model_file
    from superres.volumes.verification import root_attributes

    if result is None or not Path(result).is_dir():
        return
    own = root_attributes(Path(result))[0].get("superres")
    told = own.get("model") if isinstance(own, dict) else None
    if isinstance(told, dict) and told.get("identity") and told["identity"] != load_model_file(model).identity:
        raise InputError(
            f"{result} was made by the model '{told.get('name')}', and {model} is another one; choose the file of that "
            "model, or upscale the recording with this one and mark what it makes"
        )
