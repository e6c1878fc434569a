"""What a worker does for the Train widget: a training from a recipe, as ``superres train`` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superres.errors import Enough, InputError, ModelFileError
from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback


def request(recipe: Path, out: Path, enough: Path) -> dict[str, Any]:
    """Return what to ask a worker for.

    Parameters
    ----------
    recipe : Path
        YAML.
    out : Path
        The run folder; an unfinished training of the same recipe is gone on with.
    enough : Path
        A file that says, once it is there, that the training is to end and to keep its model.
    """
    return {"kind": "train", "recipe": str(recipe), "out": str(out), "enough": str(enough)}


def run(asked: Request, progress: ProgressCallback, tell: Tell) -> dict[str, Any]:
    """Train; errors as from `superres.train`.

    Returns
    -------
    dict
        ``model``, the file; ``steps``; ``metrics``, numbers by name; ``seconds``; ``warnings``, what a person should
        know; ``changes``, of a training on marked places, what it changed there and elsewhere.
    """
    progress(Progress("start", 0, 0, note="starting"))
    from superres.config import TrainConfig, load_config
    from superres.training import train

    enough = Path(asked["enough"])

    def watched(event: Progress) -> None:
        progress(event)
        if event.stage == "train" and event.done < event.total and enough.exists():
            raise Enough("asked for")

    config = load_config(TrainConfig, Path(asked["recipe"]))
    result = train(config, Path(asked["out"]), progress=watched)
    changes = _changes(Path(asked["out"]), result.model, config.device, progress)
    return {
        "model": str(result.model),
        "steps": result.steps,
        "metrics": {name: value for name, value in result.metrics.items() if isinstance(value, float)},
        "seconds": result.seconds,
        "warnings": list(result.notes),
        "changes": changes,
    }


def _changes(run: Path, model: Path, device: str, progress: ProgressCallback) -> list[str]:
    """Say what a training on marked places changed; nothing of other trainings."""
    from superres.datasets.marked_crops import read_marks
    from superres.evaluation.marked import changes_in_words, score_marks

    if read_marks(run) is None:
        return []
    try:
        return changes_in_words(score_marks(run, model, device=device, progress=progress))
    except (InputError, ModelFileError) as error:  # the model is there, whatever became of the images
        return [f"What changed cannot be measured: {error}"]
