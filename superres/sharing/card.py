"""The card of a model: what it is for, and how it did on images that it was not trained on.

It stands in the header of the model file, is written by ``superres models describe``, and says of which weights it
speaks. What the header says anyway (data with licences and credits, degradation, lineage) is not said again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from superres.errors import ModelFileError
from superres.modelfile import ModelFile

Modality = Literal["electron", "light"]

# NAME.pictures/FILE.png; cards come from strangers.
_PICTURE = re.compile(r"[^/\\\0]+\.pictures/(?!\.)[^/\\\0]+\.png")

FIGURES = ("psnr", "ssim", "resolution")
"""The figures of a card: PSNR in dB, SSIM, and the finest period in voxels that is right against truth (FRC)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How one method did on one acquisition, or on average; None where there is no value."""

    psnr: float | None
    ssim: float | None
    resolution: float | None


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the model is better in one figure: mean over `n` acquisitions, its 95 % interval, and wins."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    wins: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One acquisition: its manifest and id, and the figures of each method."""

    manifest: str
    id: str
    figures: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Control:
    """What the model made of a recording without structure; see `superres.evaluation.controls.Control`."""

    name: str
    noise: float
    invention: float
    is_passed: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluation (``superres evaluate``), as a card keeps it.

    Parameters
    ----------
    model : mapping
        Name, SHA-256 and identity of the model that was scored.
    manifests : tuple of mapping
        Name and SHA-256 of each.
    settings : mapping
        Those of `superres.evaluation.settings.EvaluateConfig` that decide the figures, without files.
    reference : str
        Plain interpolation, or without upscaling the input: the baseline that all others stand beside.
    tuned : tuple of str
        Baselines whose settings were tuned on other images.
    nets : tuple of str
        Other trained nets among the methods.
    acquisitions : tuple of Scored
        Every acquisition.
    mean : mapping
        Method to the means over acquisitions; the model is ``"superres"``.
    gains : mapping
        Baseline to figure to the model's gain over it.
    controls : tuple of Control
        Recordings without structure.
    created, version : str
        When, and by which superres.
    """

    model: Mapping[str, str]
    manifests: tuple[Mapping[str, str], ...]
    settings: Mapping[str, Any]
    reference: str
    tuned: tuple[str, ...]
    nets: tuple[str, ...]
    acquisitions: tuple[Scored, ...]
    mean: Mapping[str, Figures]
    gains: Mapping[str, Mapping[str, Gain]]
    controls: tuple[Control, ...]
    created: str
    version: str

    @property
    def name(self) -> str:
        """Names of its manifests and the split: ``"em, val"``."""
        return f"{', '.join(manifest['name'] for manifest in self.manifests)}, {self.settings.get('split', 'val')}"

    def is_like(self, other: Trial) -> bool:
        """Say whether another evaluation is of the same images under the same conditions."""
        conditions, others = ({**one.settings, "baselines": None} for one in (self, other))
        return conditions == others and self.manifests == other.manifests

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from JSON."""
        gains = {
            name: {figure: Gain(**found) for figure, found in row.items()} for name, row in content["gains"].items()
        }
        parts: dict[str, Any] = {
            "manifests": tuple(content["manifests"]),
            "tuned": tuple(content["tuned"]),
            "nets": tuple(content["nets"]),
            "acquisitions": tuple(
                Scored(one["manifest"], one["id"], _figures(one["figures"])) for one in content["acquisitions"]
            ),
            "mean": _figures(content["mean"]),
            "gains": gains,
            "controls": tuple(Control(**one) for one in content["controls"]),
        }
        return cls(**{**content, **parts})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside the model file: its path from the folder of that file, its SHA-256, and what it shows."""

    file: str
    sha256: str
    caption: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from JSON; a name that leads out of the folder of pictures is that of no picture of ours."""
        found = cls(**content)
        if not _PICTURE.fullmatch(found.file):
            raise TypeError(f"a picture called {found.file!r}")
        return found


@dataclass(frozen=True, slots=True)
class Card:
    """What a model is for, and how it did; see `superres.sharing.completeness` for when it is complete.

    Parameters
    ----------
    identity : str
        `superres.modelfile.ModelFile.identity` of the weights that it speaks of.
    purpose : str
        What the model is for, in a sentence.
    not_for : tuple of str
        What it is not for.
    licence : str
        Under which the model may be used.
    modality : str
        ``"electron"``, ``"light"``, or empty: what recordings it is suggested for.
    machine : str
        What it was trained on, such as ``"one NVIDIA H100"``.
    seconds : float or None
        How long that took.
    trials : tuple of Trial
        How it did.
    before : tuple of Trial
        How the model that it descends from did on the same acquisitions, and on those of its own.
    pictures : tuple of Picture
        Where it fails.
    written : str
        Date.
    """

    identity: str
    purpose: str = ""
    not_for: tuple[str, ...] = ()
    licence: str = ""
    modality: Modality | Literal[""] = ""
    machine: str = ""
    seconds: float | None = None
    trials: tuple[Trial, ...] = ()
    before: tuple[Trial, ...] = ()
    pictures: tuple[Picture, ...] = ()
    written: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what a header holds, and `of` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, file: ModelFile) -> Card | None:
        """Return the card in a model file's header; None where there is none.

        Raises
        ------
        ModelFileError
            When it is damaged, or of another version.
        """
        content = file.header.card
        if not content:
            return None
        try:
            parts: dict[str, Any] = {
                "not_for": tuple(content["not_for"]),
                "trials": tuple(Trial.of(one) for one in content["trials"]),
                "before": tuple(Trial.of(one) for one in content["before"]),
                "pictures": tuple(Picture.of(one) for one in content["pictures"]),
            }
            return cls(**{**content, **parts})
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{file.path}: its card is damaged or of another version ({error}); write it anew with "
                "'superres models describe', or update superres"
            ) from None


def _figures(content: Mapping[str, Mapping[str, float | None]]) -> dict[str, Figures]:
    return {method: Figures(**values) for method, values in content.items()}
