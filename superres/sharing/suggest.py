"""Which model in the package is for a recording: by its modality, voxel size and finest detail, each with its figure.

A suggestion is no decision: it is shown with its reasons, and a person types the command.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from superres.config import IntensityRule
from superres.datasets.fingerprint import EMPTY_BELOW, ImageFacts, measure_image
from superres.errors import InputError
from superres.evaluation.decorrelation import decorrelation
from superres.inference.familiar import unlike_noise
from superres.modelfile import ModelHeader, read_model_header
from superres.sharing.card import Modality
from superres.sharing.names import bundled_models
from superres.sharing.wording import range_text
from superres.training.choices import channels_of, is_dark
from superres.volumes import Volume

# Words by which makers and people call detectors, dyes and microscopes; as whole words, in names of channels and files.
_WORDS: dict[Modality, str] = {
    "electron": r"sem|tem|stem|fib-?sem|sbf-?sem|bse|etd|tld|inlens|haadf|electron",
    "light": (
        r"dapi|hoechst|draq5|gfp|egfp|yfp|cfp|rfp|mcherry|tdtomato|fitc|tritc|cy[2357]|alexa ?\d*|af ?\d{3}|atto ?\d*|"
        r"phalloidin|actin|tubulin|confocal|airyscan|widefield|fluorescence|brightfield|bf|dic"
    ),
}
_NAMES: dict[Modality, str] = {
    "electron": "an electron micrograph",
    "light": "fluorescence or another light microscope",
}
# Periods in voxels up to which a recording is sampled about as its detail needs, and twice as finely.
_FINE, _COARSE = 3.0, 6.0
_SIDE = 512


@dataclass(frozen=True, slots=True)
class Look:
    """What a recording is, as far as the choice of a model depends on it.

    Parameters
    ----------
    modality : str
        ``"electron"`` or ``"light"``.
    why : str
        What that rests on.
    voxel_size : tuple of float or None
        ZYX, micrometre.
    period : float or None
        Finest detail in voxels, by decorrelation analysis; None where it cannot be told.
    noise : float
        Standard deviation as a share of the range from black to white; of the noisiest channel.
    """

    modality: Modality
    why: str
    voxel_size: tuple[float | None, float | None, float | None]
    period: float | None
    noise: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model for a recording: its name (None where none is for it), the reasons, and what speaks against it."""

    name: str | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def look_at(volume: Volume) -> Look:
    """Look at a few windows of a recording.

    Raises
    ------
    InputError
        When the file turns out damaged, or holds no structure.
    """
    facts = measure_image(volume, (1, 1, 1), IntensityRule())
    if not facts.channels:
        raise InputError(f"{volume.source}: no channel holds structure; no model is for that")
    modality, why = _modality(volume, facts)
    noise = max(channel.noise for channel in facts.channels)
    return Look(modality, why, volume.voxel_size, _period(volume, facts.channels[0].channel), noise)


def suggest(look: Look) -> Suggestion:
    """Choose among the models in the package."""
    headers = {name: read_model_header(path) for name, path in bundled_models().items()}
    fitting = {name: header for name, header in headers.items() if header.card.get("modality") == look.modality}
    known = [f"It looks like {_NAMES[look.modality]}: {look.why}."]
    if not fitting:
        have = f"it has {', '.join(headers)}" if headers else "it has none"
        return Suggestion(None, (*known, f"No model in the package is for that ({have})."), ())
    wanted, detail = _wanted(look, [max(header.factor) for header in fitting.values()])
    name = min(fitting, key=lambda one: (any(_far(fitting[one], look)), abs(max(fitting[one].factor) - wanted), one))
    reasons = [*known, *detail, *_sampling(name, fitting[name], look)]
    return Suggestion(name, tuple(reasons), outside(fitting[name], look))


def outside(header: ModelHeader, look: Look) -> tuple[str, ...]:
    """Say with figures in what a recording is unlike those that a model was trained for."""
    found = []
    if any(_far(header, look)):
        here = range_text([(size, size) if size else None for size in look.voxel_size])
        found.append(f"its voxels measure {here}, the model was trained for {range_text(header.voxel_range)}")
    noise = unlike_noise(header, look.noise)
    return (*found, *([f"it is {noise}"] if noise else []))


def _far(header: ModelHeader, look: Look) -> tuple[bool, ...]:
    return header.unlike(look.voxel_size)


def _modality(volume: Volume, facts: ImageFacts) -> tuple[Modality, str]:
    """Tell by names of channels and file, then by the number of channels, then by how much of it is dark."""
    texts = [*volume.channel_names, volume.source.stem]
    for modality, words in _WORDS.items():
        for text in texts:
            match = re.search(rf"(?<![a-z])(?:{words})(?![a-z])", text.lower().replace("_", " "))
            if match is not None:
                return modality, f"'{match[0]}' stands in '{text}'"
    if volume.shape[1] > 1:
        return "light", f"it has {volume.shape[1]} channels"
    empty = float(np.median([channel.empty for channel in channels_of([facts])]))
    share = f"{empty:.0%} of it is darker than {EMPTY_BELOW:.0%} of its range"
    if is_dark([facts]):
        return "light", f"{share}, as of objects on a dark background"
    return "electron", f"only {share}, as in electron micrographs"


def _period(volume: Volume, channel: int) -> float | None:
    """Return the finest detail of the middle of the middle plane, in voxels."""
    t, _, z = (n // 2 for n in volume.shape[:3])
    y, x = (slice((n - side) // 2, (n + side) // 2) for n in volume.shape[3:] for side in (min(n, _SIDE),))
    try:
        period = decorrelation(volume.read(t=t, c=channel, z=slice(z, z + 1), y=y, x=x)[0]).resolution
    except InputError:  # too small, constant or with NaN
        return None
    return period if math.isfinite(period) else None


def _wanted(look: Look, factors: Sequence[int]) -> tuple[int, tuple[str, ...]]:
    """Say how much finer a recording may usefully become, and why."""
    if look.period is None:
        return 2, ()
    told = f"Its finest detail has a period of about {look.period:.1f} voxels, noise is {look.noise:.1%} of its range"
    if look.period <= _FINE:
        return max(factors), (f"{told}: it is sampled coarsely, and can become much finer.",)
    if look.period <= _COARSE:
        return min(2, max(factors)), (f"{told}: it is sampled nearly as finely as its detail needs.",)
    return 1, (f"{told}: it is sampled more finely than its detail needs; finer voxels alone show nothing more.",)


def _sampling(name: str, header: ModelHeader, look: Look) -> tuple[str, ...]:
    here = range_text([(size, size) if size else None for size in look.voxel_size])
    trained = range_text(header.voxel_range)
    if not here or not trained:
        return (
            f"Whether {name} is for its voxel size cannot be told ({'the model' if here else 'the file'} says none).",
        )
    return () if any(_far(header, look)) else (f"Its voxels measure {here}; {name} is for {trained}.",)
