"""What a worker does for previews: it keeps the model and what it measured of the image, and predicts a part."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.config import UpscaleConfig, load_config
from superres.plugin.upscale_task import settings_json
from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.inference.preview import Preview

Place = Mapping[str, tuple[int, int]]
"""From each of Z, Y, X to its first voxel and the one behind the last."""

_kept: dict[str, Preview] = {}


def request(source: str, config: UpscaleConfig, *, t: int, channel: int, place: Place, result: Path) -> dict[str, Any]:
    """Return what to ask a worker for: to predict a part of one channel, and to write it to the .npy file `result`.

    Parameters
    ----------
    source : str
        The image, as `superres.open_volume` takes it.
    config : UpscaleConfig
        The settings of the upscaling that it is a preview of.
    t, channel : int
        Of the input, counted from 0.
    place : mapping
        ``{"z": (first, behind the last), "y": ..., "x": ...}`` in voxels of the input.
    result : Path
        Where the array goes, (z, y, x).
    """
    return {
        "kind": "preview",
        "source": source,
        "config": settings_json(config),
        "t": t,
        "channel": channel,
        "place": {axis: list(span) for axis, span in place.items()},
        "result": str(result),
    }


def run(asked: Request, progress: ProgressCallback, tell: Tell) -> dict[str, Any]:
    """Predict a part; errors as from `superres.upscale`.

    Returns
    -------
    dict
        `path` of the array, `place` that it shows, in voxels of the input, `factor` along ZYX, and `seconds`.
    """
    started = time.monotonic()
    preview = _opened(asked, progress)
    spans = asked["place"]
    place = (slice(*spans["z"]), slice(*spans["y"]), slice(*spans["x"]))
    shown = preview.predict(t=asked["t"], channel=asked["channel"], place=place, progress=progress)
    np.save(asked["result"], shown.block)
    return {
        "path": asked["result"],
        "place": {axis: [part.start, part.stop] for axis, part in zip("zyx", shown.place, strict=True)},
        "factor": list(preview.plan.factor),
        "seconds": time.monotonic() - started,
    }


def _opened(asked: Request, progress: ProgressCallback) -> Preview:
    """Return what is kept of image and model, or load and measure them; one pair at a time is kept."""
    key = json.dumps([asked["source"], asked["config"]], sort_keys=True)
    if key in _kept and _kept[key].is_current:
        return _kept[key]
    progress(Progress("start", 0, 0, note="loading the model"))
    from superres.inference import load_model
    from superres.inference.preview import Preview

    config = load_config(UpscaleConfig, None, **asked["config"])
    old = next(iter(_kept.values()), None)
    same = old is not None and json.loads(next(iter(_kept)))[1]["model"] == asked["config"]["model"]
    _kept.clear()
    predictor = old.predictor if same and old is not None else load_model(config.model, config.device)
    progress(Progress("start", 0, 0, note="looking at the image"))
    _kept[key] = Preview.open(Path(asked["source"]), config, predictor)
    return _kept[key]
