"""Whether a fitted degradation is worth it on real pairs: spectra come closer, and nets trained with it restore better.

The degradation is fitted to the fields of the training split alone. Nets learn from their sharp images and never see a
real noisy one; they are scored on the real noisy images of the other fields. About ten minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import TrainConfig, load_config
from superres.datasets.acquisition import Acquisition
from superres.datasets.manifest import load_manifests
from superres.datasets.pairs import match_intensity, open_pair
from superres.degrade.block import degrade_block
from superres.degrade.fitting import Outcome, fit_degradation
from superres.degrade.microscope import default_steps
from superres.degrade.recordings import FitConfig
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.similarity import ssim
from superres.inference import load_model
from superres.inference.predictor import Predictor
from superres.training import train
from superres.volumes import Volume

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

MANIFEST = Path(__file__).parents[2] / "data_manifests" / "pairs_snr.yaml"
HAZE = "pair-3d-widefield-confocal/dna_confocal_widefield.tif"
SEEDS = (0, 1, 2)
STEPS = 300
FACTOR = (1, 1, 1)
SIDE, CROP = 1024, 8  # voxels of the middle of an image that are scored, and left out at its borders

Image = NDArray[np.float64]


@cache
def acquisitions(root: Path, split: str) -> tuple[Acquisition, ...]:
    return load_manifests((MANIFEST,), root)[0].of_split(split)


def files(chosen: tuple[Acquisition, ...], kind: str) -> list[str]:
    return [str(file) for one in chosen for file in getattr(one, kind)]


@pytest.fixture(scope="module")
def fits(data_root: Path) -> dict[str, Outcome]:
    """The degradation of the training fields, told which images are pairs and not."""
    fields = acquisitions(data_root, "train")
    sharp, recorded = files(fields, "high"), files(fields, "low")
    return {
        name: fit_degradation(sharp, recorded, FitConfig(factor=FACTOR, paired=paired))
        for name, paired in (("fitted", False), ("fitted to pairs", True))
    }


def test_the_spectrum_of_real_pairs_comes_three_times_closer(data_root: Path) -> None:
    fields = acquisitions(data_root, "train") + acquisitions(data_root, "val")
    pairs = [(*pair, 0) for pair in zip(files(fields, "high"), files(fields, "low"), strict=True)]
    pairs.append((str(data_root / HAZE), str(data_root / HAZE), 1))
    print(f"\n{'spectrum, rms of log10 ratio':32}{'default':>9}{'fitted':>9}{'ratio':>7}")
    worst = []
    for sharp, recorded, channel in pairs:
        found = fit_degradation([sharp], [recorded], FitConfig(paired=True, recorded_channel=channel))
        before, after = found.default.gaps.spectrum, found.fitted.gaps.spectrum
        print(f"{Path(recorded).stem:32}{before:9.3f}{after:9.3f}{before / after:7.1f}")
        worst.append(before / after)
    assert min(worst) >= 3


def test_nets_trained_with_the_fit_restore_real_images_better(
    fits: Mapping[str, Outcome], data_root: Path, tmp_path: Path
) -> None:
    sharp_only = write_manifest(tmp_path / "sharp.yaml", data_root)
    default = [step.model_dump(mode="json", exclude_none=True) for step in default_steps(FACTOR)]
    (tmp_path / "default.yaml").write_text(yaml.safe_dump({"degrade": default}), encoding="utf-8")
    for name, outcome in fits.items():
        (tmp_path / f"{name}.yaml").write_text(degrade_block(outcome), encoding="utf-8")
    arms = ("default", *fits)
    runs = {f"{arm} {n}": trained(tmp_path / f"{arm}.yaml", sharp_only, n, data_root) for arm in arms for n in SEEDS}
    scores = {name: score(load_model(run), data_root) for name, run in runs.items()}
    means = show(scores, arms, data_root)
    for arm in fits:
        assert means[arm] > means["default"]


def write_manifest(path: Path, root: Path) -> Path:
    """Leave the noisy images of the training fields out, so that only their sharp ones can be learned from."""
    content = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    for entry in content["acquisitions"]:
        if entry["split"] == "train":
            entry["low"] = []
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert not files(load_manifests((path,), root)[0].of_split("train"), "low")
    return path


def trained(degradation: Path, manifest: Path, seed: int, root: Path) -> Path:
    """Train with settings of the recipe for pairs: no perceptual term, since its nets are for measurement."""
    settings = [
        "model.preset=XS", "model.interval=false", "model.consistency_sigma=4", "loss.charbonnier_epsilon=0.05",
        "loss.feature=0", "patch.size=32", "patch.batch=4", f"steps={STEPS}",
        "validate_every=100000", "sample_every=100000",
    ]  # fmt: skip
    config = load_config(
        TrainConfig, None, settings, manifests=[str(manifest)], factor=FACTOR, seed=seed, degrade=str(degradation),
        data_root=root,
    )  # fmt: skip
    run = degradation.with_suffix("") / str(seed)
    train(config, run)
    return run


@cache
def read(root: Path, split: str) -> dict[str, tuple[Image, Image]]:
    """Return the middles of real pairs: low, and high on the grey scale of low as the evaluation brings it there."""
    images = {}
    for acquisition in acquisitions(root, split):
        for index, file in enumerate(acquisition.low):
            low, high = (middle_of(volume) for volume in open_pair(acquisition, index, factor=FACTOR))
            gain, offset = match_intensity(low[None], high[None], FACTOR)
            images[file.stem] = low, gain * high + offset
    return images


def middle_of(volume: Volume) -> Image:
    y, x = (slice(max(0, (n - SIDE) // 2), (n + SIDE) // 2) for n in volume.shape[3:])
    plane: Image = volume.read(t=0, c=0, z=slice(0, 1), y=y, x=x)[0].astype(np.float64)
    return plane


def score(restore: Predictor | Callable[[Image], Image], root: Path, split: str = "val") -> list[tuple[float, float]]:
    """Return PSNR and SSIM of every image; the range is that of truth, and nothing is guarded."""
    found = []
    for low, truth in read(root, split).values():
        pred = restore.restore(low[None, None], guarded=False)[0, 0] if isinstance(restore, Predictor) else restore(low)
        seen, true = (inner(image, (CROP, CROP)) for image in (pred, truth))
        found.append(
            (psnr(true, seen, data_range=float(np.ptp(true))), ssim(true, seen, data_range=float(np.ptp(true))))
        )
    return found


def tuned_gaussian(root: Path) -> float:
    """Return the sigma that is best on the training fields."""
    sigmas = np.geomspace(0.4, 4, 11).tolist()
    return max(sigmas, key=lambda sigma: np.mean([s[0] for s in score(blurred(sigma), root, "train")]))


def blurred(sigma: float) -> Callable[[Image], Image]:
    return lambda low: np.asarray(gaussian_filter(low, sigma), dtype=np.float64)


def show(scores: Mapping[str, list[tuple[float, float]]], arms: tuple[str, ...], root: Path) -> dict[str, float]:
    """Print PSNR and SSIM of every image, mean and spread over seeds; return the mean PSNR of every arm."""
    sigma = tuned_gaussian(root)
    rows = {"input": [score(lambda low: low, root)], f"gaussian {sigma:.2g}": [score(blurred(sigma), root)]}
    rows |= {arm: [scores[f"{arm} {seed}"] for seed in SEEDS] for arm in arms}
    print(f"\n{'':18}" + "".join(f"{name:>32}" for name in read(root, "val")))
    for row, runs in rows.items():
        table = np.array(runs)  # (seeds, images, 2)
        cells = (f"{spread(image[:, 0], 2)} dB  {spread(image[:, 1], 3)}" for image in table.transpose(1, 0, 2))
        print(f"{row:18}" + "".join(f"{cell:>32}" for cell in cells) + f"{table[..., 0].mean():8.2f} dB")
    return {arm: float(np.mean([image[0] for run in rows[arm] for image in run])) for arm in arms}


def spread(values: Image, digits: int) -> str:
    """Write mean and standard deviation over seeds."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"
