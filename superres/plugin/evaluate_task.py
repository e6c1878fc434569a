"""What a worker does for the Evaluate widget: a result against truth, as ``superres evaluate`` does it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superres.plugin.pair_manifest import Image, Pair, factor_of, write_pairs
from superres.plugin.worker import Request, Tell
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.evaluation import Evaluation

MANIFEST = "manifest.yaml"


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
    started = time.monotonic()
    progress(Progress("start", 0, 0, note="starting"))
    from superres.config import load_config
    from superres.evaluation import evaluate
    from superres.evaluation.settings import EvaluateConfig
    from superres.evaluation.summary import in_words

    result, low, truth = (Image(**asked[name]) for name in ("result", "low", "truth"))
    out = Path(asked["out"])
    factor = factor_of(low, truth)
    progress(Progress("start", 0, 0, note="checksums of the images"))
    manifest = write_pairs(out / MANIFEST, [Pair(low, truth, "test")])
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


def _table(evaluation: Evaluation) -> list[list[Any]]:
    rows = []
    for name in evaluation.methods if evaluation.acquisitions else ():
        scores, micrometre = evaluation.mean[name], evaluation.acquisitions[0].resolution_um[name]
        figures = (scores.psnr, scores.ssim, micrometre)
        rows.append([name, *(value if math.isfinite(value) else None for value in figures)])
    return rows
