"""The page that goes with a model package: what the model is for, what it learnt from, how to run it rightly."""

from __future__ import annotations

import re

from superres.config import IntensityRule
from superres.modelfile import ModelFile, ModelHeader
from superres.sharing.bioimageio_net import radii
from superres.sharing.page import card_markdown

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"'<>;,]*[\w)]")
_ADDRESS = re.compile(r"https?://[^\s\"'<>;,)]+")


def package_page(file: ModelFile) -> str:
    """Write the page: the card, then how the bare net is run rightly. Its pictures lie beside it, in no folder."""
    card = re.sub(r"(?<=\]\()[^)]*/", "", card_markdown(file))
    return "\n\n".join((card.strip(), _grey_levels(file.header), _blocks(file.header), _NOT_IN_IT, _VALIDATION)) + "\n"


def citations(header: ModelHeader) -> list[tuple[str, str, str]]:
    """Return what is to be cited, each once: text, DOI, address. Credits without either stand on the page alone."""
    found: dict[str, tuple[str, str, str]] = {}
    for entry in (entry for training in header.trainings for entry in training.get("acquisitions", ())):
        text = str(entry.get("credit") or "")
        doi, address = _DOI.search(text), _ADDRESS.search(text)
        if doi or address:
            found.setdefault(text, (text, doi.group() if doi else "", "" if doi or not address else address.group()))
    return list(found.values())


_NOT_IN_IT = """\
## What is not in this package

superres checks what a net makes: a guard falls back on interpolation where a recording is unlike those that the net
learnt from, and maps say of every voxel how far to believe it (calibrated interval, consistency with the recording,
flags). **None of that is in this package: it is the bare net.** It can be worse than interpolation on images unlike
those above, and does not say so. With superres the same weights are run with guard and maps:

    superres models import PACKAGE.zip model.safetensors
    superres upscale recording.tif --model model.safetensors --out result.ome.zarr"""

_VALIDATION = """\
## Validation

Record some fields twice, fast and well, and compare with the well recorded ones: PSNR, SSIM and resolution (FRC) of the
prediction beside those of bicubic interpolation, by acquisition and not by voxel. `superres evaluate` does it. Look at
where the prediction differs most. Structures near the limit of resolution need a second proof."""


def _grey_levels(header: ModelHeader) -> str:
    rule = IntensityRule.model_validate(dict(header.intensity))
    black, white = rule.percentiles
    averaged = (
        f" superres takes the percentiles of averages over {rule.average} x {rule.average} voxels, so that noise does "
        "not set the scale. The format has no such step and takes those of single voxels: in noisy recordings its "
        "black and white lie further apart, and results differ a little from those of superres."
        if rule.average > 1
        else ""
    )
    return (
        "## Grey levels\n\n"
        f"Black and white are the percentiles {black:g} and {white:g} of **all of a volume, measured once**: not of a "
        "block, not of a plane. The description says so by percentiles over the batch too, those of a data set: give "
        "the planes of one volume as one data set, volumes of different exposure one by one. With "
        "bioimageio.core:\n\n"
        "    create_prediction_pipeline(model, dataset_for_initial_statistics=[sample])\n\n"
        "The prediction is on the same scale, 0 for black and 1 for white, not clipped; grey levels are "
        f"`prediction * (white - black) + black`.{averaged}"
    )


def _blocks(header: ModelHeader) -> str:
    dims = len(radii(header))
    halo = ", ".join(f"{axis} {r}" for axis, r in zip("ZYX"[-dims:], radii(header), strict=True))
    steps = ", ".join(f"{axis} {s}" for axis, s in zip("ZYX"[-dims:], header.stride[-dims:], strict=True))
    return (
        "## Blocks\n\n"
        f"A voxel of the output depends on so many voxels of the input to either side: {halo}. With that halo, "
        f"mirrored edges (`reflect`), and blocks and images whose sizes and origins are multiples of {steps}, "
        "the output is the same for any blocks."
    )
