"""Whether the two images of a real pair lie on each other, so that what is scored is the method and not the shift."""

from __future__ import annotations

from collections.abc import Sequence

from superres.datasets import Acquisition
from superres.datasets.registration import CERTAIN, TOLERATED, PlaneShift, register_images
from superres.evaluation.sampling import Sample, Setup


def misregistered(acquisition: Acquisition, samples: Sequence[Sample], setup: Setup) -> list[str]:
    """Say which real pairs lie further than a quarter of a high voxel from each other, after any shift that is stated.

    The middle plane of each sample is measured, in the channel that registers best.
    """
    if not acquisition.low:
        return []
    fz = setup.factor[0]
    lines = []
    for sample in samples:
        z = sample.scored[len(sample.scored) // 2] // fz
        found = [
            register_images(low[z : z + 1], truth[z * fz : (z + 1) * fz], factor=setup.factor)
            for low, truth in zip(sample.low, sample.truth, strict=True)
        ]
        best = max((one for one in found if isinstance(one, PlaneShift)), key=lambda one: one.certainty, default=None)
        label = sample.labels[len(sample.labels) // 2]
        if best is None or best.certainty < CERTAIN:
            lines.append(f"{label}: low and high do not register, so that they may not show one field")
        elif max(map(abs, best.shift)) > TOLERATED:
            y, x = best.shift[1:]
            lines.append(
                f"{label}: high lies Y {y:+.2f}, X {x:+.2f} voxels off low, which lowers every figure; measure and "
                "state the shifts with 'superres data register'"
            )
    return lines
