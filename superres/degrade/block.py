"""The fitted degradation as it stands in a recipe: ranges around the fit, and in comments what was fitted."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from superres.degrade.fitting import Alone, Outcome
from superres.degrade.ranges import BLUR_SHARE, NOISE_SHARE, ranges
from superres.degrade.sureness import LEVEL, Sureness
from superres.errors import OutputExistsError, OutputWriteError

# A fitted microscope has gain 1 and offset 0.
_NEUTRAL = (("read_noise", "gain"), ("read_noise", "offset"))
_MEANINGS = {
    "spectrum": "radial spectrum, rms of log10 ratio",
    "noise": "noise variance against grey level, rms of log10 ratio",
    "quantiles": "quantiles, rms as a share of the range",
    "correlation": "correlation of neighbouring noise, rms",
    "direction": "spectrum along Y over along X, rms of log10 ratio",
}


def meanings() -> dict[str, str]:
    """Return what each gap of `Gaps` measures, in words."""
    return dict(_MEANINGS)


def degrade_block(outcome: Outcome) -> str:
    """Write the fit as YAML that a recipe of the same factor can name, or that can be pasted into it."""
    found = ranges(outcome.fit.microscope, [one.microscope for one in outcome.alone if one.is_understood])
    steps = [_kept(step.model_dump(mode="json", exclude_none=True)) for step in found]
    content = {"factor": list(outcome.recordings.fields.factor), "degrade": steps}
    body = yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
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
    yield "Degradation fitted to real recordings by 'superres degrade fit'. A recipe names it by 'degrade:' and the"
    yield "path of this file, from the recipe's folder."
    yield ""
    yield f"sharp: {_files(outcome.recordings.sharp)}"
    yield f"recorded: {_files(outcome.recordings.recorded)}{', pairs' if fields.paired else ''}"
    yield ""
    yield "Found in grey levels of the recordings:"
    sure = outcome.sureness
    yield f"  {_values(fit.grey_levels_per_photon)}{around(sure, 'gain')} per photon (gain),"
    yield f"  {_values(fit.offset)}{around(sure, 'offset')} without light (offset),"
    yield f"  {_values(fit.read_noise)}{around(sure, 'read_noise')} of noise without light (read noise), measured from"
    yield f"  {noise_source(outcome)}; the sharp grey range spans {_values(fit.contrast)}."
    yield f"Blur {fit.microscope.blur:.3g}{around(sure, 'blur')} high voxels,"
    yield f"{fit.microscope.photons:.3g}{around(sure, 'photons')} photons at the top of the sharp grey range."
    yield from textwrap.wrap(how_sure(outcome), 110)
    yield ""
    yield f"Ranges: blur {BLUR_SHARE:.0%} and noise {NOISE_SHARE:.0%} to either side of the fit, so that the net does"
    yield f"not depend on one exact microscope{', and wide enough for every recording' if outcome.alone else ''}. First"
    yield "blur: high voxels; photons: at the top of the sharp grey range; sd: shares of that range."
    yield from _each(outcome.alone)
    yield ""
    yield "How far simulated recordings are from the real ones, with the default degradation and with this one:"
    for name, meaning in _MEANINGS.items():
        before, after = (getattr(one.gaps, name) for one in (outcome.default, outcome.fitted))
        yield f"  {before:6.3f}  {after:6.3f}  {meaning}"
    for warning in outcome.warnings:
        yield ""
        yield from textwrap.wrap(f"Warning: {warning}", 110)


def _each(alone: Sequence[Alone]) -> Iterator[str]:
    if not alone:
        return
    yield ""
    yield "Each recording by itself, and how far its spectrum is off with the default and with its own degradation:"
    for one in alone:
        scope = one.microscope
        numbers = f"blur {scope.blur:.3g}, photons {scope.photons:.3g}, sd {scope.read:.2g}"
        yield f"  {one.default.spectrum:6.3f}  {one.fitted.spectrum:6.3f}  {numbers}: {Path(one.recorded).name}"


def around(sure: Sureness | None, name: str) -> str:
    """Return the half-width of an interval as it stands behind a number; nothing where it is not known."""
    return "" if sure is None else f" ± {getattr(sure, name):.2g}"


def how_sure(outcome: Outcome) -> str:
    """Say what the intervals are, or why there are none."""
    if outcome.sureness is None:
        return "How sure these numbers are is not known: the windows are too small, or too empty, to fit parts of them."
    return (
        f"Behind ± are half-widths of {LEVEL:.0%} intervals, from how much the quarters of the windows disagree. What "
        "is wrong alike in all of them, such as sharp images of other structures, is not in them."
    )


def noise_source(outcome: Outcome) -> str:
    """Say what noise was measured from."""
    return "repeats of one field" if outcome.fit.from_repeats else "single images"


def _files(paths: Sequence[str]) -> str:
    names = [Path(path).name for path in paths]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _values(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"
