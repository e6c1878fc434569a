"""What a worker does for the Upscale widget: one volume into one store, as ``superres upscale`` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superres.config import UpscaleConfig, load_config
from superres.errors import OutputExistsError
from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback


def request(source: str | Path, out: Path, config: UpscaleConfig, *, pictures: Path | None = None) -> dict[str, Any]:
    """Return what to ask a worker for: to upscale `source` into the store `out`, or to go on with it.

    With a folder for `pictures` the viewer is told of each shard (`superres.plugin.following.followed`).
    """
    return {
        "kind": "upscale",
        "source": str(source),
        "out": str(out),
        "config": settings_json(config),
        "pictures": None if pictures is None else str(pictures),
    }


def settings_json(config: UpscaleConfig) -> dict[str, Any]:
    """Return settings as plain JSON, also those that stores do not record; `load_config` reads them back."""
    kept = [name for name, field in UpscaleConfig.model_fields.items() if field.exclude]
    content = config.model_dump(mode="json")
    for name in kept:
        value = getattr(config, name)
        content[name] = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    return content


def run(asked: Request, progress: ProgressCallback, tell: Tell) -> dict[str, Any]:
    """Upscale; errors as from `superres.upscale`.

    Returns
    -------
    dict
        `path` of the store, `seconds`, `units`, `units_done_before`, `clipped`, `warnings`, and what there is of how
        far to believe it: `trust`, a sentence, or null.
    """
    progress(Progress("start", 0, 0, note="starting"))
    from superres.inference import load_model, upscale
    from superres.inference.estimate import Room
    from superres.volumes import open_volume

    source, out = Path(asked["source"]), Path(asked["out"])
    config = load_config(UpscaleConfig, None, **asked["config"])
    progress(Progress("start", 0, 0, note="loading the model"))
    predictor = load_model(config.model, config.device)
    progress(Progress("start", 0, 0, note="looking at the image"))
    if config.check_disk:
        volume = open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
        Room(config).require(out, {out: volume}, predictor)
    how = None
    if asked.get("pictures"):
        from superres.plugin.following import followed

        how = followed(Path(asked["pictures"]), tell)
    try:
        summary = upscale(source, out, config, progress=progress, predictor=predictor, run=how)
    except OutputExistsError:
        raise OutputExistsError(
            f"{out} is there already and holds something else, such as the result of other settings. Give the result "
            "another name, or tick 'replace what is there'"
        ) from None
    found = {name: getattr(summary, name) for name in ("seconds", "units", "units_done_before", "clipped")}
    trust = None if summary.trust is None else summary.trust.sentence()
    return found | {"path": str(summary.path), "warnings": list(summary.warnings), "trust": trust}
