"""Upscale an image in memory, channel by channel, or all its channels at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from superres.inference.guard import Guard
from superres.inference.guarded import make_guard, noise_windows, predict_guarded
from superres.inference.plan import Region, TilePlan
from superres.volumes import Intensity, measure_intensity_of
from superres.volumes.edges import around

if TYPE_CHECKING:
    from superres.inference.predictor import Predictor


def restore_image(
    predictor: Predictor,
    image: NDArray[Any],
    tile: int | None,
    *,
    guarded: bool,
    interval: bool,
    weight: NDArray[np.float32] | None = None,
) -> list[NDArray[np.float32]]:
    """Return the prediction, and with `interval` the half-widths, each (c, z * fz, y * fy, x * fx).

    With `weight`, (c, z, y, x) of the predicted channels, the guard writes there what it would keep, and leaves the
    prediction as it is. See `Predictor.restore`, `Predictor.restore_interval` and `Predictor.examine`.
    """
    predictor.require_channels(image.shape[0], "the image")
    intensities = measure_intensity_of(image, predictor.rule)
    plan = predictor.plan((image.shape[1], image.shape[2], image.shape[3]), tile=tile)
    jobs = _jobs(predictor, len(image))
    out = np.empty((3 if interval else 1, sum(len(outputs) for _, outputs in jobs), *plan.output_shape), np.float32)
    done = 0
    for inputs, outputs in jobs:
        normalised = np.stack([_normalised(image[c], intensities[c]) for c in inputs])
        # The guard examines planes of one channel.
        alone = len(outputs) == 1 and not predictor.is_deep
        guard = _guard_of(predictor, normalised[inputs.index(outputs[0])]) if guarded and alone else None
        for core in plan.blocks(tuple(slice(0, n) for n in plan.output_shape)):  # type: ignore[arg-type]
            kept = None if weight is None else weight[done][core[0].start, core[1], core[2]]
            values = _predicted(predictor, normalised, plan, core, guard, interval=interval, weight=kept)
            where = tuple(slice(part.start * f, part.stop * f) for part, f in zip(core, plan.factor, strict=True))
            for number, channel in enumerate(outputs):
                intensity = intensities[channel]
                own = values[number :: len(outputs)]
                out[0, done + number][where] = intensity.denormalise(own[0])
                for half_width, target in zip(own[1:], out[1:, done + number], strict=True):
                    target[where] = half_width * np.float32(intensity.white - intensity.black)
        done += len(outputs)
    return list(out)


def _jobs(predictor: Predictor, channels: int) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Return what is predicted at once: the channels that the net is given, and those that it predicts."""
    everything = range(channels)
    if predictor.header.context.get("axis") == "c":
        return [(everything, [predictor.target])]
    return [(everything, everything)] if predictor.header.channels > 1 else [([c], [c]) for c in everything]


def _normalised(channel: NDArray[Any], intensity: Intensity) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(intensity.normalise(channel), np.float32), nan=0.0)


def _guard_of(predictor: Predictor, channel: NDArray[np.float32]) -> Guard:
    places = noise_windows(len(channel), (channel.shape[1], channel.shape[2]))
    return make_guard(predictor, [channel[z, y, x] for z, y, x in places], (None, None, None))[0]


def _predicted(
    predictor: Predictor,
    image: NDArray[np.float32],
    plan: TilePlan,
    core: Region,
    guard: Guard | None,
    *,
    interval: bool,
    weight: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Predict one core of a normalised image, (c, z, y, x), as (c or 3 c, z * fz, y * fy, x * fx).

    With `weight`, (y, x), the guard writes into it and leaves the prediction as it is.
    """
    planes, rows, columns = core
    if predictor.is_deep:
        return predictor.predict_block(lambda z, y, x: image[:, z, y, x], plan, core, interval=interval)
    z, context = planes.start, predictor.header.context
    is_along = context.get("axis") in ("z", "t")
    seen = image[0][around(z, context["frames"], image.shape[1])] if is_along else image[:, z]
    if guard is not None:
        found = predict_guarded(
            predictor, lambda y, x: seen[:, y, x], plan, (rows, columns), guard, damp=weight is None
        )
        if weight is not None:
            weight[...] = found.evidence.weight
        return found.pred[None, None]
    return predictor.predict_tile(lambda y, x: seen[:, y, x], plan, rows, columns, interval=interval)[:, None]
