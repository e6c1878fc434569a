"""A net as other programs run it: the whole of its input at once, for images of any valid size."""

from __future__ import annotations

import gc
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.errors import ModelFileError
from superres.modelfile import ModelFile, ModelHeader
from superres.nets import Architecture, UNet, net_from_model_file

BLACK, WHITE = 100.0, 1100.0
"""Grey levels of the example image that become 0 and 1."""

# Voxels that a block must hold beside its halo, along Z and along Y and X.
_CORE = (2, 32)


class WholeNet(UNet):
    """The net without the choice of a part: nothing in it depends on how large its input is."""

    def needed(self, low: Tensor, inner: tuple[slice, ...]) -> list[tuple[slice, ...]]:
        """Return the part as it is, which is all, for every level."""
        return [inner] * max(1, len(self.encoder))


def whole_net(file: ModelFile) -> WholeNet:
    """Rebuild the net of a model file to be exported, in evaluation mode.

    Raises
    ------
    ModelFileError
        When its output depends on the tiles that it is computed in, or the weights do not fit.
    """
    net = net_from_model_file(file)
    if not net.architecture.exact_tiling:
        raise ModelFileError(
            f"{file.path}: its net attends to all of a tile, so that programs which cut images into blocks would each "
            "make another image of it; train one without (--set model.attention=false) to export it"
        )
    whole = WholeNet(net.architecture)
    whole.load_state_dict(net.state_dict())
    return whole.eval()


def radii(header: ModelHeader) -> tuple[int, ...]:
    """Return what the net sees to either side, along Y and X or Z, Y and X, in voxels of its input."""
    return header.receptive_radius[-Architecture.from_json(header.architecture).dimensions :]


def smallest(header: ModelHeader) -> tuple[int, ...]:
    """Return the smallest input that a description allows: the halo on either side, and something between them."""
    dims = len(radii(header))
    cores = (_CORE[0], _CORE[1], _CORE[1])[-dims:]
    steps = header.stride[-dims:]
    return tuple(2 * r + -(-core // s) * s for r, s, core in zip(radii(header), steps, cores, strict=True))


def example_image(header: ModelHeader) -> NDArray[np.float32]:
    """Make an image of structures at all scales that has one black and one white by any rule.

    Percentiles of voxels, or of averages over a few of them, of the image or of the image with its mirrored edges:
    all of them fall into one plain black and one plain white area.

    Returns
    -------
    ndarray
        float32, (images, y, x) or (channels, z, y, x), grey levels from `BLACK` to `WHITE`.
    """
    of = Architecture.from_json(header.architecture)
    dims = of.dimensions
    sizes = [n + 2 * s for n, s in zip(smallest(header), header.stride[-dims:], strict=True)]
    sizes[-2] += 32 // header.stride[-2] * header.stride[-2]  # not square: axes that change places are noticed
    random, image = np.random.default_rng(0), np.zeros((of.inputs, *sizes))
    for scale in (1, 2, 4, 8, 16):
        coarse = random.normal(size=(of.inputs, *(-(-n // scale) for n in sizes)))
        for axis in range(1, dims + 1):
            coarse = np.repeat(coarse, scale, axis=axis)
        image += coarse[(slice(None), *(slice(n) for n in sizes))]
    image = 0.1 + 0.8 / (1 + np.exp(-image))
    plain = max(16, min(sizes[-2:]) // 5)
    image[..., 8 : 8 + plain, 8 : 8 + plain] = 0
    image[..., -8 - plain : -8, -8 - plain : -8] = 1
    return (BLACK + (WHITE - BLACK) * image).astype(np.float32)


def traced(net: WholeNet, example: Tensor) -> bytes:
    """Return the net in TorchScript, for batches and images of any valid size.

    The test of the package compares it with the net at other sizes than that of `example`.
    """
    with torch.no_grad(), usual_warnings():
        script = torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
    return buffer.getvalue()


@contextmanager
def usual_warnings() -> Iterator[None]:
    """Leave out what is said of every export.

    By torch, that tracing is deprecated, and that sizes are looked at in Python, which the tests answer; by
    ``bioimageio.core``, that percentiles are averaged over samples, of which there is one; and of the files that it
    leaves open, which are closed before this ends.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        warnings.filterwarnings("ignore", "Computed dataset percentiles naively")
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            gc.collect()
