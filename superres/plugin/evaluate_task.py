"""What a worker does for the Evaluate widget: a result against truth, as ``superres evaluate`` does it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.evaluation import Evaluation

MANIFEST = "manifest.yaml"
_NAME = "truth"


@dataclass(frozen=True, slots=True)
class Image:
    """An image and the channel of it that is meant.

    Parameters
    ----------
    path : str
        As `superres.open_volume` takes it.
    channel : int
        Counted from 0.
    axes : str or None
        Where the file does not tell.
    """

    path: str
    channel: int = 0
    axes: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"path": self.path, "channel": self.channel, "axes": self.axes}


def request(result: Image, low: Image, truth: Image, out: Path, *, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to ask a worker for.

    Parameters
    ----------
    result, low, truth : Image
        What is scored, the recording that it was made of, and what it should be.
    out : Path
        Folder for the report.
    settings : mapping
        Of `superres.evaluation.settings.EvaluateConfig`, as JSON.
    """
    images = {"result": result.to_json(), "low": low.to_json(), "truth": truth.to_json()}
    return {"kind": "evaluate", "out": str(out), "settings": dict(settings), **images}


def run(asked: Request, progress: ProgressCallback, tell: Tell) -> dict[str, Any]:
    """Write a manifest of the pair, score the result, and write the report.

    Returns
    -------
    dict
        ``report``, the page; ``manifest``; ``table``, rows of method, PSNR, SSIM and resolution in micrometre (None
        where a figure has no value); ``words``, what it comes to; ``seconds``; ``warnings``.
    """
    import time

    started = time.monotonic()
    progress(Progress("start", 0, 0, note="starting"))
    from superres.config import load_config
    from superres.evaluation import evaluate
    from superres.evaluation.settings import EvaluateConfig
    from superres.evaluation.summary import in_words

    result, low, truth = (Image(**asked[name]) for name in ("result", "low", "truth"))
    out = Path(asked["out"])
    factor = _factor(low, truth)
    progress(Progress("start", 0, 0, note="checksums of the images"))
    manifest = write_pair(out / MANIFEST, low, truth)
    config = load_config(
        EvaluateConfig,
        None,
        manifests=(manifest,),
        split="test",
        factor=factor,
        result=Path(result.path),
        result_channels=(result.channel,),
        **asked["settings"],
    )
    evaluation = evaluate(config, out, progress=progress)
    warnings = [f"{name}: {why}" for name, why in evaluation.skipped.items()]
    warnings += [text for one in evaluation.acquisitions for text in one.warnings]
    return {
        "report": str(evaluation.report),
        "manifest": str(manifest),
        "table": _table(evaluation),
        "words": list(in_words(evaluation)),
        "seconds": time.monotonic() - started,
        "warnings": warnings,
    }


def write_pair(path: Path, low: Image, truth: Image) -> Path:
    """Write the manifest of one pair of a recording and its truth.

    Raises
    ------
    InputError
        When the two are not on one disk, or have other axes to be told.
    OutputWriteError
        When the manifest cannot be written.
    """
    import yaml

    from superres.datasets.checksum import image_sha256
    from superres.errors import InputError, OutputWriteError

    if low.axes != truth.axes:
        raise InputError(
            f"{truth.path}: its axes are given as {truth.axes}, those of {low.path} as {low.axes or 'in its file'}; "
            "save both to files (File > Save Selected Layers) and open those"
        )
    files = [Path(os.path.abspath(one.path)) for one in (low, truth)]  # noqa: PTH100 - a pattern is not resolved
    try:
        root = Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:
        raise InputError(f"{truth.path} and {low.path} are on different disks; copy one to the other's") from None
    entries = [
        [{"file": file.relative_to(root).as_posix(), "sha256": image_sha256(file), "channels": [one.channel]}]
        for file, one in zip(files, (low, truth), strict=True)
    ]
    acquisition: dict[str, Any] = {"id": _NAME, "split": "test", "low": entries[0], "high": entries[1]}
    content = {
        "name": path.parent.name or _NAME,
        "description": "A recording and its truth, listed by superres.",
        "licence": "not stated",
        "credit": "not stated",
        "source": "not stated",
        "root": str(root),
        "acquisitions": [acquisition | ({"axes": low.axes} if low.axes else {})],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(
            f"{path}: cannot be written ({error.strerror}); choose another folder for the report"
        ) from None
    return path


def _factor(low: Image, truth: Image) -> tuple[int, int, int]:
    """Return by how much truth is finer than the recording.

    Raises
    ------
    InputError
        When it is not so by whole numbers.
    """
    from superres.datasets.pairs import factor_between
    from superres.errors import InputError
    from superres.volumes import open_volume

    sizes = [open_volume(one.path, axes=one.axes).shape[2:] for one in (low, truth)]
    found = factor_between(*sizes)
    if found is None:
        small, large = ("x".join(map(str, size)) for size in sizes)
        raise InputError(
            f"{truth.path} has {large} voxels (ZYX), {low.path} has {small}; truth must have a whole number of times "
            "as many along each axis: crop it to the field of the recording"
        )
    return (found[0], found[1], found[2])


def _table(evaluation: Evaluation) -> list[list[Any]]:
    rows = []
    for name in evaluation.methods if evaluation.acquisitions else ():
        scores, micrometre = evaluation.mean[name], evaluation.acquisitions[0].resolution_um[name]
        figures = (scores.psnr, scores.ssim, micrometre)
        rows.append([name, *(value if math.isfinite(value) else None for value in figures)])
    return rows
