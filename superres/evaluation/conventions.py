"""Everything that a figure in a report depends on, in words and values."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import superres
from superres.datasets import Manifest
from superres.evaluation.alignment import REACH
from superres.evaluation.baselines import DESCRIPTIONS
from superres.evaluation.exhibits import WINDOW
from superres.evaluation.metrics import NRMSE_VARIANT
from superres.evaluation.results import NAMES, PRIMARY, UNGUARDED
from superres.evaluation.sampling import Setup
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.similarity import BLACK_PERCENTILE, FACTOR_REACH, MS_SSIM_SIDE, SCALE_WEIGHTS, SSIM_WINDOW
from superres.evaluation.statistics import DRAWS, EXACT_UP_TO
from superres.evaluation.stored import describe_result
from superres.evaluation.tuning_set import SIDE, STACK_SIDE, STACKS, WINDOWS
from superres.evaluation.upsampling import RESAMPLERS
from superres.modelfile import ModelHeader, load_model_file

DEFINITIONS = {
    "averaging": "planes and channels are averaged within an acquisition first, then acquisitions; every acquisition "
    "counts once",
    "statistics": "the unit is the acquisition. Intervals are 95 % t intervals of paired differences between "
    "acquisitions; p values are of a two-sided sign-flip test on the same differences, over all patterns of signs up "
    f"to {EXACT_UP_TO} acquisitions and over {DRAWS} drawn from a fixed seed beyond, with Holm's correction over the "
    f"baselines. One figure is tested, chosen beforehand: {NAMES[PRIMARY]}. The others describe: they have intervals "
    "and no p values, and nothing is called significant by them. Intervals are for one comparison each, not corrected "
    "for their number. Intervals suppose that differences are normal, the test only "
    "that chance favours neither side: of few acquisitions an interval may leave out 0 where the test cannot tell. "
    "Positive differences favour the model",
    "precision": "truth is read as float32 from the data type given per acquisition, and scores are computed in "
    "float64; predictions are neither clipped, rounded nor rescaled",
    "tuning": "settings of baselines are those with the best mean PSNR on up to "
    f"{WINDOWS} windows {SIDE} voxels wide ({STACKS} windows {STACK_SIDE} wide of stacks that are taken as a whole), "
    "of another split than the one that is scored wherever the manifests have one (test: val, else train; val: train; "
    "train: val)",
    "guard": "where the output is not to be believed the model's residual over interpolation is damped; the row "
    f"'{UNGUARDED}' is what the net makes by itself, with the model's MicroSSIM factor. Kept and damped are over the "
    "scored part of the scored planes",
    "missing": "planes of truth with NaN or infinite values and those that are constant in the scored part are left "
    "out and listed; a prediction that holds NaN has no value in any figure",
    "psnr": "10 log10(R^2 / MSE) in decibel; R is stated per acquisition and is the same for every method",
    "psnr_ceiling": "10 log10(R^2 / mean variance of the noise in truth), the noise measured as variance against grey "
    "level in the flattest parts of one plane; given where that noise is white",
    "si_psnr": "PSNR after the best gain and offset of the prediction, 20 log10(R / rms(g - a x)), g and x without "
    "their means, a = <g,x>/<x,x>",
    "ssim": f"Wang et al. 2004: Gaussian window of sigma 1.5 ({SSIM_WINDOW} x {SSIM_WINDOW}), K1 0.01, K2 0.03, "
    "population covariance, complete windows only, the same R",
    "ms_ssim": f"Wang et al. 2003: five scales, weights {SCALE_WEIGHTS}, window and R as for SSIM, 2 x 2 means between "
    f"scales, negative scale means count as 0; no value below {MS_SSIM_SIDE} voxels a side after the borders are left "
    "out",
    "micro_ssim": "Ashesh et al. 2024: SSIM of truth - black and a * (prediction - black), window and R as for SSIM; "
    f"black is percentile {BLACK_PERCENTILE:g} of the scored planes of an acquisition and channel, separately for "
    "truth and prediction; one factor a per method makes the mean over all acquisitions largest, within a factor of "
    f"{FACTOR_REACH:g} of equal power (the paper has no bounds, and in images that are mostly background may choose "
    "one near 0). It punishes blur less than invention: never to be read alone",
    "resolution": "period in voxels (along X) at which the Fourier ring correlation of prediction and truth falls "
    "below 0.5: Tukey window of 0.25, means subtracted, rings averaged over the planes of an acquisition, smoothed "
    "over 3, searched from ring 4 on, 3 rings in a row below; 2 where it never falls. Noise in truth makes it coarser",
    "error_below, error_above": "sqrt(sum |X - G|^2 / sum |G|^2) of the spectra of prediction and truth (windowed as "
    "for the resolution) up to the Nyquist frequency of the low image along Y and X, and beyond it; 0 is perfect, 1 is "
    "what predicting nothing gives",
    "psnr_shifted, shift_y, shift_x": f"PSNR after the prediction is moved by up to {REACH:g} voxel along Y and X, in "
    "steps of 0.01, to where it correlates best with truth (cubic spline), and that shift; beside the plain PSNR, "
    "never instead of it",
    "nrmse": f"variant '{NRMSE_VARIANT}': root mean squared error over root mean square of truth",
    "slope, intercept, r2, intensity_ratio": "least-squares line prediction = slope * truth + "
    "intercept, its R^2, and total intensity of the prediction over that of truth",
    "degraded_images": "low images made from truth use the middle of every range of the degradation; they are neither "
    "clipped nor rounded",
    "recorded_pairs": "truth is brought to the grey scale of the low image by one gain and offset per file and "
    "channel (least squares on the smoothed scored planes, high binned to the low grid); figures are on "
    "the low image's scale",
    "spectra": "drawn: mean of |FFT|^2 in rings, Hann window, mean subtracted, borders left out as for the scores",
    "crops": f"up to {WINDOW} voxels wide; of the windows of the plane the one with a tenth of the others above it "
    "in contrast of truth; grey levels from the 0.5 to the 99.5 percentile of truth, the same for every picture",
}
"""What each figure is."""

_PACKAGES = ("numpy", "scipy", "scikit-image", "torch", "pydantic")


def describe_run(
    config: EvaluateConfig,
    setup: Setup,
    *,
    header: ModelHeader | None,
    manifests: Sequence[Manifest],
    methods: Sequence[str],
    micro_ssim_factors: Mapping[str, float],
) -> dict[str, Any]:
    """Return the conventions of one evaluation, JSON-able."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "settings": config.model_dump(mode="json"),
        "command": command(config),
        "model": _subject(config, header),
        "is_result": config.result is not None,
        "manifests": [{"name": m.name, "path": str(m.path), "sha256": m.sha256} for m in manifests],
        "split": config.split,
        "factor": list(setup.factor),
        "planes": setup.planes,
        "crop": {"low": setup.crop, "high_yx": list(setup.high_crop)},
        "seed": setup.seed,
        "degradation": [step.model_dump(mode="json", exclude_none=True) for step in setup.degrade],
        "intensity": setup.rule.model_dump(mode="json"),
        "definitions": DEFINITIONS,
        "baselines": _baselines(methods),
        "micro_ssim_factors": dict(micro_ssim_factors),
    }


def command(config: EvaluateConfig) -> str:
    """Return what to type to make the same report again, relative to the same folder."""
    settings = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    manifests, model = settings.pop("manifests"), settings.pop("model", None)
    words = ["superres", "evaluate", *([model] if model else [])]
    for manifest in manifests:
        words += ["--manifest", manifest]
    words += ["--out", "report"]
    for name, value in settings.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _baselines(methods: Sequence[str]) -> dict[str, str]:
    """Say what each baseline is."""
    words = RESAMPLERS | DESCRIPTIONS
    return {name: words[name] for name in methods if name in words}


def _versions() -> dict[str, str]:
    found = {"superres": superres.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _subject(config: EvaluateConfig, header: ModelHeader | None) -> dict[str, Any] | None:
    """Say what stands beside the baselines: a model, a result as it stands, or nothing."""
    if config.result is not None:
        return describe_result(config.result)
    return None if config.model is None or header is None else _model(config.model, header)


def _model(path: Path, header: ModelHeader) -> dict[str, Any]:
    file = load_model_file(path)
    told = {"sha256": file.sha256, "identity": file.identity}
    return {"name": header.name, "path": str(file.path), **told, "version": header.version}
