"""The tests of a model package before it is given out: those of ``bioimageio.core``, and a comparison with superres."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bioimageio.core import create_prediction_pipeline, load_model_description, test_description
from bioimageio.core.digest_spec import get_test_input_sample
from bioimageio.spec.model import v0_5
from numpy.typing import NDArray

from superres.errors import ModelFileError
from superres.inference import Predictor
from superres.modelfile import ModelFile
from superres.nets import net_from_model_file
from superres.sharing.bioimageio_axes import HIGH
from superres.sharing.bioimageio_export import require_near
from superres.sharing.bioimageio_net import BLACK, WHITE, example_image, usual_warnings
from superres.sharing.bioimageio_package import TOLERANCE

_FORMATS = ("pytorch_state_dict", "torchscript")


@dataclass(frozen=True, slots=True)
class Tested:
    """What tested it, and the largest differences as shares of the range; see `Exported`."""

    tested: str
    difference: float
    block_difference: float


def run_tests(package: Path, file: ModelFile) -> Tested:
    """Test a package as others will use it.

    Raises
    ------
    ModelFileError
        When it fails, with what failed.
    """
    # Their bars would stand between those of superres.
    with usual_warnings(), contextlib.redirect_stderr(io.StringIO()):
        found = _run_all(package, file)
    # Raised out here: an error keeps what it came through, and that holds the package open.
    if isinstance(found, str):
        raise ModelFileError(found)
    same = f"{file.path}: bioimageio.core predicts something else than superres"
    require_near(found.difference, TOLERANCE, same)
    in_blocks = f"{file.path}: in blocks bioimageio.core predicts something else than at once"
    require_near(found.block_difference, TOLERANCE, in_blocks)
    return found


def _run_all(package: Path, file: ModelFile) -> Tested | str:
    """Return what was found, or what ``bioimageio.core`` has against the package."""
    described = load_model_description(package)
    with contextlib.ExitStack() as stack:
        if isinstance(described.root, zipfile.ZipFile):
            stack.enter_context(described.root)  # kept open by whatever remembers a failure
        return _all_tests(described, file)


def _all_tests(described: Any, file: ModelFile) -> Tested | str:
    tested, failure = _own_tests(described, file)
    if failure:
        return failure
    expected = predicted(file)
    whole = {name: run(described, name) for name in _FORMATS}
    blocks = run(described, _FORMATS[0], blocks=True)
    difference = max(float(np.abs(found - expected).max()) for found in whole.values())
    between = float(np.abs(blocks - whole[_FORMATS[0]]).max())
    return Tested(tested, difference, between)


def _own_tests(described: Any, file: ModelFile) -> tuple[str, str]:
    """Run what ``bioimageio test`` runs; return what ran, and what failed."""
    summary = test_description(described, devices=["cpu"])
    version = importlib.metadata.version("bioimageio.core")
    if summary.status != "passed":
        said = [f"{one.name}: {error.msg}" for one in summary.details for error in one.errors]
        return "", (
            f"{file.path}: the package fails the test of bioimageio.core {version}, so that nothing was written: "
            f"{'; '.join(said[:3]) or summary.status}"
        )
    return f"bioimageio.core {version} ({len(summary.details)} tests)", ""


def run(described: Any, weights: str, *, blocks: bool = False) -> NDArray[np.float32]:
    """Let ``bioimageio.core`` predict the test image, (n, c, [z,] y, x), whole or in the smallest blocks.

    Black and white are measured of the image as it is, once: left to itself, it would measure them of the image with
    its mirrored edges when it runs it whole.
    """
    sample = get_test_input_sample(described)
    with create_prediction_pipeline(
        described, devices=["cpu"], weights_format=weights, dataset_for_initial_statistics=[copy.deepcopy(sample)]
    ) as pipeline:
        if blocks:
            found = pipeline.predict_sample_with_blocking(sample, ns=_smallest(described))
        else:
            found = pipeline.predict_sample_without_blocking(sample)
    return np.asarray(found.members[HIGH].to_numpy(), np.float32)


def _smallest(described: Any) -> dict[Any, int]:
    return {
        (tensor.id, axis.id): 0
        for tensor in described.inputs
        for axis in tensor.axes
        if isinstance(axis.size, v0_5.ParameterizedSize)
    }


def predicted(file: ModelFile) -> NDArray[np.float32]:
    """Return what superres predicts of the test image, without the guard: (1, c, [z,] y, x), 0 black and 1 white."""
    low, context = example_image(file.header), file.header.context
    predictor = Predictor(net_from_model_file(file), file.header, file.identity, torch.device("cpu"))
    if predictor.is_deep:
        found = predictor.restore(low, guarded=False)
    elif context.get("axis") in ("z", "t"):  # the frames are planes of one channel
        found = predictor.restore(low[None], guarded=False)[:, predictor.target]
    else:
        found = predictor.restore(low[:, None], guarded=False)[:, 0]
    shares: NDArray[np.float32] = ((found - BLACK) / (WHITE - BLACK)).astype(np.float32)
    return shares[None]
