"""A model as ONNX: written, run by ONNX Runtime with the result of superres, and then moved in place."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.modelfile import ModelFile, ModelHeader
from superres.sharing.bioimageio_export import (
    Exported,
    put_in_place,
    require_free,
    require_installed,
    require_near,
    workshop,
)
from superres.sharing.card import Card
from superres.sharing.completeness import complete_card

if TYPE_CHECKING:
    import torch

    from superres.sharing.bioimageio_net import WholeNet

OPSET = 18
"""Version of the ONNX operators that files are written in; runtimes from 2023 on have it."""
TOLERANCE = 1e-4
"""How far a result may be from that of superres, as a share of the range between black and white."""

_NOT_IN_IT = (
    "The bare net: superres' guard and trust maps are not in it. 'low' is (grey level - black) / (white - black), with "
    "black and white measured once for a whole volume by 'intensity'; 'high' is on the same scale. Mirror the edges of "
    "an image by 'receptive_radius' (ZYX), give sizes that are multiples of 'stride', and cut the border off again."
)


def export_onnx(model: Path, out: Path) -> Exported:
    """Write a model with a complete card as an ONNX file, for batches and images of any size on its stride.

    Nothing is written unless ONNX Runtime runs it with the result of superres. Header and card stand in its metadata.

    Parameters
    ----------
    model : Path
        Model file or run folder.
    out : Path
        A ``.onnx`` file that does not exist yet.

    Raises
    ------
    ModelFileError
        When the card is missing or not complete, speaks of other weights, or a licence forbids to pass the model on;
        when the net cannot be cut into blocks, or the file gives another result.
    OutputExistsError, OutputWriteError
        When `out` exists, or cannot be written.
    SuperresError
        When ``onnx``, ``onnxruntime`` or ``onnxscript`` is not installed.
    """
    file, card = complete_card(model)
    require_free(out, ".onnx")
    require_installed("onnx", "onnxruntime", "onnxscript")
    from superres.sharing.bioimageio_net import whole_net

    net = whole_net(file)
    with workshop(out) as folder:
        made = Path(folder) / "model.onnx"
        _write(net, file, card, made)
        difference = _difference(made, net, file)
        size = put_in_place(made, out)
    return Exported(out, size, difference, None, f"onnxruntime {importlib.metadata.version('onnxruntime')}")


def _write(net: WholeNet, file: ModelFile, card: Card, path: Path) -> None:
    import onnx

    program = _exported(net, file.header)
    model = program.model_proto
    _name_axes(model, file.header)
    for key, value in _told(file, card).items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _exported(net: WholeNet, header: ModelHeader) -> Any:
    import torch

    example = _example(header, 2, 1)
    axes = {0: torch.export.Dim.AUTO, **dict.fromkeys(range(2, example.ndim), torch.export.Dim.AUTO)}
    with _quiet():
        return torch.onnx.export(
            net, (example,), dynamo=True, opset_version=OPSET, dynamic_shapes=(axes,), input_names=["low"],
            output_names=["high"], external_data=False, verbose=False,
        )  # fmt: skip


def _example(header: ModelHeader, batch: int, more: int) -> torch.Tensor:
    """Return an input of random values, of sides that are all different."""
    import torch

    from superres.nets import Architecture

    of = Architecture.from_json(header.architecture)
    steps = header.stride[-of.dimensions :]
    sizes = (step * (4 + more + number) for number, step in enumerate(steps))
    return torch.rand(batch, of.inputs, *sizes, generator=torch.Generator().manual_seed(more))


def _name_axes(model: Any, header: ModelHeader) -> None:
    """Name the axes of input and output; what stands between them keeps no names of its own."""
    dims = len(model.graph.input[0].type.tensor_type.shape.dim) - 2
    names = ["batch", None, *"zyx"[-dims:]]
    for value, factors in ((model.graph.input[0], (1,) * dims), (model.graph.output[0], header.factor[-dims:])):
        for dim, name, factor in zip(value.type.tensor_type.shape.dim, names, (1, 1, *factors), strict=True):
            if name is not None:
                dim.dim_param = name if factor == 1 else f"{factor}*{name}"
    del model.graph.value_info[:]


def _told(file: ModelFile, card: Card) -> dict[str, str]:
    header = file.header
    content = {
        "name": header.name,
        "identity": file.identity,
        "version": header.version,
        "factor": header.factor,
        "receptive_radius": header.receptive_radius,
        "stride": header.stride,
        "intensity": dict(header.intensity),
        "voxel_size": header.voxel_size,
        "context": dict(header.context),
        "training": [entry for training in header.trainings for entry in training.get("acquisitions", ())],
    }
    words = {"purpose": card.purpose, "not_for": "\n".join(card.not_for), "licence": card.licence}
    return {"superres": json.dumps(content, sort_keys=True), "how_to_run": _NOT_IN_IT, **words}


def _difference(path: Path, net: WholeNet, file: ModelFile) -> float:
    """Return the largest difference from the net, for batches and sizes other than that of the example."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch, more in ((1, 0), (3, 5)):
        low = _example(file.header, batch, more)
        with torch.inference_mode():
            expected = net(low).numpy()
        found = session.run(["high"], {"low": low.numpy()})[0]
        largest = max(largest, float(np.abs(found - expected).max()))
    require_near(largest, TOLERANCE, f"{file.path}: ONNX Runtime predicts something else than superres")
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch says of every export."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)  # of operators of torchvision, which no net here has
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
