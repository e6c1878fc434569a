"""What a model description says of the images that a net takes and makes: axes, sizes, halo, grey levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from bioimageio.spec.model import v0_5

from superres.config import IntensityRule
from superres.modelfile import ModelHeader
from superres.nets import Architecture
from superres.sharing.bioimageio_net import radii, smallest

LOW, HIGH = v0_5.TensorId("low"), v0_5.TensorId("high")

# Images up to this many voxels along an axis are of exactly the size that a description says of them.
_LONGEST = 1 << 17
# Keeps an image of equal voxels from being divided by 0, and changes no other.
_EPS = 1e-9


def input_description(header: ModelHeader, test_tensor: v0_5.FileDescr) -> v0_5.InputTensorDescr:
    """Describe what the net takes; beyond the edges of an image it is given their mirror image."""
    space = [
        v0_5.SpaceInputAxis(
            id=v0_5.AxisId(axis),
            size=v0_5.ParameterizedSize(min=least, step=step),
            scale=scale,
            unit=unit,
            concatenable=True,
        )
        for axis, least, step, (scale, _, unit) in zip(
            _space(header), smallest(header), header.stride[-len(_space(header)) :], _scales(header), strict=True
        )
    ]
    return v0_5.InputTensorDescr(
        id=LOW,
        description="Recording, in any grey levels: its black and white are measured by the preprocessing.",
        axes=[v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=_images(header)), *space],
        test_tensor=test_tensor,
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        # Said in full: a default is not written, and what is not written is read as padding with 0.
        pad=v0_5.ReflectPadding(mode="reflect"),
        preprocessing=[
            v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")),
            v0_5.ScaleRangeDescr(kwargs=_normalisation(header)),
            v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")),
        ],
    )


def output_description(header: ModelHeader, test_tensor: v0_5.FileDescr) -> v0_5.OutputTensorDescr:
    """Describe what the net makes; what it could not see enough around is the halo, in voxels of the output."""
    dims = len(_space(header))
    space = [
        v0_5.SpaceOutputAxisWithHalo(
            id=v0_5.AxisId(axis),
            size=v0_5.SizeReference(tensor_id=LOW, axis_id=v0_5.AxisId(axis)),
            halo=radius * factor,
            scale=scale,
            unit=unit,
        )
        for axis, radius, factor, (_, scale, unit) in zip(
            _space(header), radii(header), header.factor[-dims:], _scales(header), strict=True
        )
    ]
    names = [f"channel{number}" for number in range(header.channels)]
    return v0_5.OutputTensorDescr(
        id=HIGH,
        description="Prediction: 0 is the black that was measured in the recording, 1 its white. Not clipped.",
        axes=[v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=names), *space],
        test_tensor=test_tensor,
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
    )


def _space(header: ModelHeader) -> str:
    return "zyx"[-len(radii(header)) :]


def _images(header: ModelHeader) -> list[str]:
    """Name what stands along the channel axis: channels, or the frames around the one that is predicted."""
    of, axis = Architecture.from_json(header.architecture), header.context.get("axis", "c")
    if axis == "c":
        return [f"channel{number}" for number in range(of.inputs)]
    return [f"{axis}{number - of.target:+d}" if number != of.target else axis for number in range(of.inputs)]


def _normalisation(header: ModelHeader) -> v0_5.ScaleRangeKwargs:
    """Return the percentiles that become 0 and 1, over all of a volume: its planes are the batch.

    With ``batch`` among the axes they are those of a data set, which is measured once and before blocks are cut. Each
    channel has its own; frames of one channel have them together.
    """
    rule = IntensityRule.model_validate(dict(header.intensity))
    apart = header.channels > 1 or header.context.get("axis") == "c"
    axes = ["batch", *([] if apart else ["channel"]), *_space(header)]
    black, white = rule.percentiles
    return v0_5.ScaleRangeKwargs(
        axes=[v0_5.AxisId(axis) for axis in axes], min_percentile=black, max_percentile=white, eps=_EPS
    )


def _scales(header: ModelHeader) -> list[tuple[float, float, Any]]:
    """Return for every axis of space the voxel size of input and output, and their unit; 1 and none where unknown."""
    dims = len(radii(header))
    found: list[tuple[float, float, Any]] = []
    for size, factor, step in zip(header.voxel_size[-dims:], header.factor[-dims:], header.stride[-dims:], strict=True):
        low, high = exact_sizes(1.0 if size is None else size, factor, step)
        found.append((low, high, None if size is None else "micrometer"))
    return found


def exact_sizes(size: float, factor: int, step: int) -> tuple[float, float]:
    """Return voxel sizes from which readers compute exactly the number of voxels.

    They take ``int(n * low / high)``, which is one too few where a division rounds down. Then the sizes are given with
    fewer bits, so that nothing rounds; they change by less than a ten-millionth.
    """
    low, high = size, size / factor
    n = np.arange(step, _LONGEST + 1, step)
    whole = (n * low / high).astype(np.int64) == n * factor
    halo = n * factor * high / low == n
    if whole.all() and halo.all():
        return low, high
    high = float(np.float32(high))
    return high * factor, high
