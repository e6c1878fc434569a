"""The fitted degradation as it stands in a recipe: ranges around the fit, and in comments what was fitted."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from superres.config import DegradeStep
from superres.degrade.fitting import Outcome
from superres.errors import OutputExistsError, OutputWriteError

_BLUR_SHARE, _NOISE_SHARE = 0.2, 0.3
# A fitted microscope has gain 1 and offset 0.
_NEUTRAL = (("read_noise", "gain"), ("read_noise", "offset"))
_MEANINGS = {
    "spectrum": "radial spectrum, rms of log10 ratio",
    "noise": "noise variance against grey level, rms of log10 ratio",
    "quantiles": "quantiles, rms as a share of the range",
    "correlation": "correlation of neighbouring noise, rms",
    "direction": "spectrum along Y over along X, rms of log10 ratio",
}


def ranges(steps: tuple[DegradeStep, ...]) -> tuple[DegradeStep, ...]:
    """Widen single values to ranges around them: blur by a fifth, noise and jitter by 30 %.

    A net that is trained on one exact microscope fails on the next one; the middle of the ranges is the fit.
    """
    return tuple(_widened(step) for step in steps)


def _widened(step: DegradeStep) -> DegradeStep:
    content = step.model_dump(mode="json", exclude_none=True)
    ((name, value),) = content.items()
    share = _BLUR_SHARE if name == "blur" else _NOISE_SHARE
    if isinstance(value, dict):
        kept = {key: pair for key, pair in value.items() if (name, key) not in _NEUTRAL}
        content[name] = {
            key: _around(pair[0], share if key != "haze" else _haze_share(pair[0])) for key, pair in kept.items()
        }
    return DegradeStep.model_validate(content)


def _around(value: float, share: float) -> list[float]:
    return [float(f"{value * (1 - share):.4g}"), float(f"{value * (1 + share):.4g}")]


def _haze_share(haze: float) -> float:
    """Return how far haze may vary: no more light can be out of focus than there is."""
    return min(_BLUR_SHARE, (1 - haze) / haze) if haze > 0 else 0.0


def meanings() -> dict[str, str]:
    """Return what each gap of `Gaps` measures, in words."""
    return dict(_MEANINGS)


def degrade_block(outcome: Outcome) -> str:
    """Write the fit as YAML that can be pasted into a recipe of the same factor."""
    steps = [step.model_dump(mode="json", exclude_none=True) for step in ranges(outcome.fit.microscope.steps())]
    body = yaml.safe_dump({"degrade": [_kept(step) for step in steps]}, sort_keys=False, default_flow_style=None)
    return "\n".join([*(f"# {line}".rstrip() for line in _comments(outcome)), "", body])


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a file, its folder with it.

    Raises
    ------
    OutputExistsError
        When it is there and is not to be overwritten.
    OutputWriteError
        When it cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: is there already; give another --out, or --set overwrite=true")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); give another file") from None


def _kept(step: dict[str, object]) -> dict[str, object]:
    """Leave out what a step does not change."""
    ((name, value),) = step.items()
    if not isinstance(value, dict):
        return step
    unchanged = _NEUTRAL + ((("blur", "haze"), ("blur", "haze_sigma")) if value.get("haze") == [0.0, 0.0] else ())
    return {name: {key: item for key, item in value.items() if (name, key) not in unchanged}}


def _comments(outcome: Outcome) -> Iterator[str]:
    fit, fields = outcome.fit, outcome.recordings.fields
    factor = ", ".join(map(str, fields.factor))
    yield "Degradation fitted to real recordings by 'superres degrade fit'. Paste it into a recipe with"
    yield f"factor: [{factor}]"
    yield ""
    yield f"sharp: {_files(outcome.recordings.sharp)}"
    yield f"recorded: {_files(outcome.recordings.recorded)}{', pairs' if fields.paired else ''}"
    yield ""
    yield "Found in grey levels of the recordings:"
    yield f"  {_values(fit.grey_levels_per_photon)} per photon (gain), {_values(fit.offset)} without light (offset),"
    yield f"  {_values(fit.read_noise)} of noise without light, measured from {noise_source(outcome)};"
    yield f"  the sharp grey range spans {_values(fit.contrast)}."
    yield f"Ranges: the fit in the middle, blur {_BLUR_SHARE:.0%} and noise {_NOISE_SHARE:.0%} to either side, so that"
    yield "the net does not depend on one exact microscope. First blur: high voxels; photons: at the top of the sharp"
    yield "grey range; sd: shares of that range."
    yield ""
    yield "How far simulated recordings are from the real ones, with the default degradation and with this one:"
    for name, meaning in _MEANINGS.items():
        before, after = (getattr(one.gaps, name) for one in (outcome.default, outcome.fitted))
        yield f"  {before:6.3f}  {after:6.3f}  {meaning}"
    for warning in outcome.warnings:
        yield ""
        yield from textwrap.wrap(f"Warning: {warning}", 110)


def noise_source(outcome: Outcome) -> str:
    """Say what noise was measured from."""
    return "repeats of one field" if outcome.fit.from_repeats else "single images"


def _files(paths: Sequence[str]) -> str:
    names = [Path(path).name for path in paths]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _values(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"
