"""Tiles that lie below each other share their halos, and are what they are by themselves, bit for bit."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.inference import Predictor, descent
from superres.inference.descent import Descent, descends
from superres.inference.plan import TilePlan, plan_tiles
from superres.modelfile import ModelHeader
from superres.nets import Architecture, UNet

ROWS, COLUMNS, TILE = 600, 260, 200


def make(device: str = "cpu", **kind: Any) -> Predictor:
    torch.manual_seed(0)
    thin = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 1.0}
    architecture = Architecture(**{"factor": (1, 2, 2), "interval": True} | thin | kind)
    net = UNet(architecture).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    header = ModelHeader(
        name="thin",
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 4},
    )
    return Predictor(net, header, "0", torch.device(device))


def plan_of(predictor: Predictor) -> TilePlan:
    header = predictor.header
    return plan_tiles(
        (1, ROWS, COLUMNS), factor=header.factor, radius=header.receptive_radius, stride=header.stride, tile=TILE
    )


class Image:
    """A plane that tells which of its rows the net was given."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values = np.random.default_rng(0).normal(size=(1, ROWS, COLUMNS)).astype(np.float32)
        self.given: list[int] = []
        run = predictor._computed

        def computed(net: Any, low: NDArray[np.float32]) -> NDArray[np.float32]:
            self.given.append(low.shape[1])
            return run(net, low)

        monkeypatch.setattr(predictor, "_computed", computed)

    def read(self, y: slice, x: slice) -> NDArray[np.float32]:
        return self.values[:, y, x]


def cores(plan: TilePlan, overlap: int = 0) -> Iterator[tuple[slice, slice]]:
    for start in range(0, ROWS, plan.tile[1]):
        stop = min(start + plan.tile[1], ROWS)
        yield slice(max(0, start - overlap), min(ROWS, stop + overlap)), slice(0, COLUMNS)


@pytest.mark.parametrize("overlap", [0, 12])
@pytest.mark.parametrize("strip", [64 << 20, 9 << 20])
def test_tiles_below_each_other(monkeypatch: pytest.MonkeyPatch, strip: int, overlap: int) -> None:
    monkeypatch.setattr(descent, "_STRIP_BYTES", strip)
    predictor = make()
    plan, image, held = plan_of(predictor), Image(predictor, monkeypatch), Descent()
    for rows, columns in cores(plan, overlap):
        found = predictor.predict_tile(image.read, plan, rows, columns, interval=True, way=held.of(0, 0, 0))
        alone = predictor.predict_tile(image.read, plan, rows, columns, interval=True)
        np.testing.assert_array_equal(found, alone)
    image.given.clear()
    for rows, columns in cores(plan, overlap):
        predictor.predict_tile(image.read, plan, rows, columns, way=held.of(0, 0, 1))
    assert sum(image.given) == ROWS + 2 * plan.halo[1]
    assert (len(image.given) > 3) == (strip == 9 << 20)


def test_a_tile_that_does_not_lie_below_is_predicted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = make()
    plan, image, held = plan_of(predictor), Image(predictor, monkeypatch), Descent()
    first, second, third = (rows for rows, _ in cores(plan))
    whole, left = slice(0, COLUMNS), slice(0, COLUMNS - 32)
    asked = [(0, first, whole), (1, second, whole), (1, third, left), (1, second, left), (1, first, left)]
    for plane, rows, columns in asked:
        image.given.clear()
        found = predictor.predict_tile(image.read, plan, rows, columns, way=held.of(0, 0, plane))
        assert image.given == [-(-(rows.stop - rows.start) // 4) * 4 + 2 * plan.halo[1]]
        np.testing.assert_array_equal(found, predictor.predict_tile(image.read, plan, rows, columns))


def test_small_tiles_are_predicted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are too few: torch would convolve them by another algorithm."""
    predictor = make()
    plan, image, held = plan_of(predictor), Image(predictor, monkeypatch), Descent()
    for rows in (slice(0, 200), slice(200, 220), slice(220, 420)):
        found = predictor.predict_tile(image.read, plan, rows, slice(0, COLUMNS), way=held.of(0, 0, 0))
        np.testing.assert_array_equal(found, predictor.predict_tile(image.read, plan, rows, slice(0, COLUMNS)))
    for rows in (slice(0, 64), slice(64, 128)):
        found = predictor.predict_tile(image.read, plan, rows, slice(0, 64), way=held.of(0, 0, 1))
        np.testing.assert_array_equal(found, predictor.predict_tile(image.read, plan, rows, slice(0, 64)))


def test_which_nets_descend() -> None:
    for kind, goes in (({}, True), ({"attention": True}, False), ({"grid": "high"}, False), ({"widths": (8,)}, False)):
        predictor = make(**kind)
        assert descends(predictor, plan_of(predictor)) == goes
    assert not make("meta").works_in_strips
    predictor = make()
    assert not descends(predictor, predictor.plan((1, ROWS, COLUMNS), halo="fast"))


def test_another_process_goes_its_own_way() -> None:
    assert isinstance(pickle.loads(pickle.dumps(Descent())), Descent)
