"""What calibrating and checking share: the model, the units of the claim, and their voxels one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition, load_manifest, refuse_duplicates
from superres.errors import InputError, ModelFileError
from superres.evaluation.apart import images_apart, spread
from superres.evaluation.coverage import Voxels, gradient_of, ratios
from superres.evaluation.metrics import inner
from superres.evaluation.protocol import plan
from superres.evaluation.sampling import Place, Sample, Setup, draw_samples, places_of
from superres.evaluation.settings import CalibrateConfig
from superres.inference import Predictor, load_model
from superres.progress import Progress, ProgressCallback
from superres.volumes import measure_intensity_of

Unit = Literal["acquisition", "image"]

# Voxels of one plane and channel that are kept, at random where there are more; 2**22 in all at most for 8 planes.
_VOXELS_PER_PLANE = 2**19
SAMPLING = f"all voxels of a plane, at random {_VOXELS_PER_PLANE} where there are more"


@dataclass(frozen=True, slots=True)
class Measured:
    """Voxels of one unit.

    Parameters
    ----------
    name : str
        Of the acquisition, or of the image.
    acquisition : Acquisition
        Where it is from.
    voxels : Voxels
        What was predicted, and truth.
    image : mapping or None
        With unit image, which one: hash of its file, time point and plane.
    """

    name: str
    acquisition: Acquisition
    voxels: Voxels
    image: Mapping[str, Any] | None


class CalibrationJob:
    """A model and the acquisitions that it is calibrated with or checked on.

    Parameters
    ----------
    config : CalibrateConfig
        Model, manifests and split.
    purpose : str
        What is done with them.

    Raises
    ------
    ConfigError, InputError, ModelFileError
        When the model predicts no intervals, or an acquisition is not to be used.
    """

    def __init__(self, config: CalibrateConfig, purpose: Literal["calibration", "check"]) -> None:
        if config.model is None:
            raise InputError("no model was given; give a model file or a run folder")
        self.model, self.purpose, self.config = config.model, purpose, config
        self.predictor = load_model(config.model, config.device)
        if not self.predictor.has_interval:
            raise ModelFileError(f"{self.model}: predicts no intervals; train one with --set model.interval=true")
        self.record: Mapping[str, Any] = self.predictor.header.calibration
        self.unit: Unit = self.record.get("unit", "acquisition") if purpose == "check" else config.by
        self.manifests = [load_manifest(path, config.data_root) for path in config.manifests]
        refuse_duplicates(*self.manifests)
        self.acquisitions = [item for manifest in self.manifests for item in manifest.of_split(config.split)]
        if not self.acquisitions:
            places = ", ".join(str(path) for path in config.manifests)
            raise InputError(f"{places}: no acquisition in split {config.split!r}; give another, e.g. --split test")
        self._refuse_known()
        self.setup: Setup = plan(config, self.predictor.header, acquisitions=self.acquisitions)
        self.skipped: dict[str, str] = {}
        self.apart: dict[str, int] = {}

    def measured(self, progress: ProgressCallback) -> Iterator[Measured]:
        """Predict one unit after the other; what cannot be used is noted in `skipped`, distances in `apart`."""
        for index, acquisition in enumerate(self.acquisitions):
            progress(Progress(self.purpose, index, len(self.acquisitions), "acquisitions", acquisition.id))
            chosen = self._images(acquisition) if self.unit == "image" else None
            samples, left_out = ([], []) if chosen == [] else draw_samples(acquisition, self.setup, chosen=chosen)
            if self.unit == "image":
                self.skipped |= {line.partition(": ")[0]: line.partition(": ")[2] for line in left_out}
                yield from self._by_image(acquisition, samples)
            elif samples:
                yield Measured(acquisition.id, acquisition, self._joined(samples), None)
            else:
                self.skipped[acquisition.id] = "; ".join(left_out) or "no planes"
        progress(Progress(self.purpose, len(self.acquisitions), len(self.acquisitions), "acquisitions"))

    def require(self, used: Sequence[object]) -> None:
        """Refuse a job that found nothing to measure."""
        if not used:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise InputError(f"no {self.unit} can be used for {self.purpose} ({reasons}); give others with truth")

    def _images(self, acquisition: Acquisition) -> list[Place]:
        """Choose images for calibration and leave as many between them, or choose from those that were left."""
        places = places_of(acquisition, self.setup)
        used = [index for index, place in enumerate(places) if self._is_used(acquisition, place)]
        distance = images_apart(acquisition, places)
        if distance is None:
            self.skipped[acquisition.id] = f"all of its {len(places)} images show much the same, as a single one would"
            return []
        self.apart[acquisition.id] = distance
        if self.purpose == "calibration":
            chosen = spread(len(places), 2 * distance, self.config.images)
        else:
            chosen = spread(len(places), distance, self.config.images, used)
        if not chosen:
            self.skipped[acquisition.id] = f"no image lies {distance} from those that the model was calibrated with"
        return [places[index] for index in chosen]

    def _is_used(self, acquisition: Acquisition, place: Place) -> bool:
        images = self.record.get("images", ()) if self.purpose == "check" else ()
        return any(_key(acquisition, place) == {name: entry[name] for name in _KEYS} for entry in images)

    def _by_image(self, acquisition: Acquisition, samples: Sequence[Sample]) -> Iterator[Measured]:
        random = np.random.default_rng(self.setup.seed)
        for sample in samples:
            planes = _planes(sample, self.predictor, self.setup, random)
            for label, place, parts in zip(sample.labels, sample.places, planes, strict=True):
                short = label.removeprefix(f"{acquisition.high[0].name}, ") if len(acquisition.high) == 1 else label
                name = f"{acquisition.id}: {short}" if len(self.acquisitions) > 1 else short
                yield Measured(name, acquisition, _voxels(parts), _key(acquisition, place))

    def _joined(self, samples: Sequence[Sample]) -> Voxels:
        random = np.random.default_rng(self.setup.seed)
        planes = [
            part for one in samples for parts in _planes(one, self.predictor, self.setup, random) for part in parts
        ]
        return _voxels(planes)

    def _refuse_known(self) -> None:
        """Refuse acquisitions that the model has seen: by the hash of their files, or by manifest and name."""
        for manifest in self.manifests:
            for acquisition in manifest.acquisitions:
                if acquisition not in self.acquisitions:
                    continue
                trainings = self.predictor.header.trainings
                if any(_listed(acquisition, manifest.name, training) for training in trainings):
                    self._refuse(acquisition, "the model was trained on it")
                if self.purpose == "check" and self.unit == "image":
                    self._require_within(acquisition)
                elif self.purpose == "check" and _listed(acquisition, manifest.name, self.record):
                    self._refuse(acquisition, "the model was calibrated with it")
        doubled = _doubled(self.acquisitions)
        if doubled:
            raise InputError(f"{doubled}: stands twice in the manifests; an acquisition counts once, remove one")

    def _require_within(self, acquisition: Acquisition) -> None:
        names = [entry["id"] for entry in self.record["acquisitions"]]
        if acquisition.id not in names:
            raise InputError(
                f"{acquisition.id}: the model was calibrated by image, for further images of {', '.join(names)} alone, "
                "and promises nothing of other acquisitions; give these, or calibrate by acquisition"
            )

    def _refuse(self, acquisition: Acquisition, why: str) -> None:
        raise InputError(
            f"{acquisition.id}: {why}, so its coverage says nothing about new images; give acquisitions that the model "
            f"has not seen, in another manifest or --split"
        )


_KEYS = ("sha256", "t", "z")


def _key(acquisition: Acquisition, place: Place) -> dict[str, Any]:
    """Return what tells an image from all others, under any name."""
    return dict(zip(_KEYS, (acquisition.high_sha256[place.file], place.t, place.z), strict=True))


def _listed(acquisition: Acquisition, manifest: str, record: Mapping[str, Any]) -> bool:
    """Tell whether a header's record of training or calibration lists an acquisition."""
    entries = record.get("acquisitions", ())
    if acquisition.sha256 and acquisition.sha256 in {entry.get("sha256") for entry in entries}:
        return True
    same_set = manifest in {entry["name"] for entry in record.get("manifests", ())}
    return same_set and acquisition.id in {entry["id"] for entry in entries}


def _doubled(acquisitions: Sequence[Acquisition]) -> str:
    seen: set[str] = set()
    for acquisition in acquisitions:
        for key in {acquisition.id, acquisition.sha256} - {""}:
            if key in seen:
                return acquisition.id
        seen |= {acquisition.id, acquisition.sha256}
    return ""


_Arrays = list[NDArray[Any]]


def _planes(sample: Sample, predictor: Predictor, setup: Setup, random: np.random.Generator) -> Iterator[list[_Arrays]]:
    """Predict a sample and keep a bounded number of voxels of each scored plane, per channel."""
    predicted = predictor.restore_interval(sample.low)
    if not all(np.isfinite(array).all() for array in predicted):
        raise ModelFileError(f"the model predicts NaN or infinite values on {sample.labels[0]}; train it anew")
    scales = measure_intensity_of(sample.low, predictor.rule)
    for z in sample.scored:
        kept = []
        for channel, scale in enumerate(scales):
            span = np.float32(scale.white - scale.black)
            planes = [array[channel, z] / span for array in (sample.truth, *predicted)]
            inside = [inner(plane, setup.high_crop) for plane in [*planes, gradient_of(planes[0])]]
            kept.append(_some([plane.ravel() for plane in inside], random))
        yield kept


def _voxels(kept: Sequence[_Arrays]) -> Voxels:
    truth, pred, below, above, gradient = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return Voxels(pred, truth - pred, below, above, ratios(truth, pred, below, above), gradient)


def _some(arrays: _Arrays, random: np.random.Generator) -> _Arrays:
    if arrays[0].size <= _VOXELS_PER_PLANE:
        return arrays
    # Sorted, so that memory is read in order; which voxels are drawn does not depend on it.
    chosen = np.sort(random.choice(arrays[0].size, _VOXELS_PER_PLANE, replace=False))
    return [array[chosen] for array in arrays]
