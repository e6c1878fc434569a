"""Laws of directions, planes and paths in the space of weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from superres.evaluation.contours import Surface, contours
from superres.evaluation.loss_surface import (
    Distance,
    Measured,
    Plane,
    grid,
    main_directions,
    random_direction,
    span,
    weights_of,
)
from superres.nets import Architecture, UNet

SMALL: dict[str, Any] = {"channels": 1, "widths": (8, 12), "blocks": 1, "middle_blocks": 1, "consistency_sigma": 1.0}
NETS: dict[str, dict[str, Any]] = {
    "plane": {"factor": (1, 2, 2)},
    "interval": {"factor": (1, 2, 2), "interval": True},
    "neighbours": {"factor": (1, 2, 2), "frames": 3, "target": 1},
    "channels": {"factor": (1, 2, 2), "channels": 2},
    "volume": {"factor": (2, 2, 2), "dimensions": 3},
    "weight": {"factor": (1, 2, 2), "norm": "weight"},
    "spectral": {"factor": (1, 2, 2), "norm": "spectral", "attention": True},
    "batch": {"factor": (1, 2, 2), "norm": "batch", "dropblock": 0.1},
    "volume batch": {"factor": (1, 2, 2), "dimensions": 3, "norm": "batch"},
}


def net_and_distance(kind: str) -> tuple[UNet, Distance, Tensor, Tensor]:
    """A net of random weights, and its distance to truth on random patches."""
    torch.manual_seed(3)
    net = UNet(Architecture(**(SMALL | NETS[kind]))).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    of = net.architecture
    low = torch.rand(2, of.inputs, *(4, 8, 8)[-of.dimensions :])
    high = torch.rand(2, of.channels, *(n * f for n, f in zip(low.shape[2:], net.factor, strict=True)))
    return net, Distance(net, low, high, torch.ones(1), 0.05), low, high


def ignore(measured: Measured) -> None:
    pass


# --- random directions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
def test_a_random_direction_has_the_norms_of_the_filters(kind: str) -> None:
    net = net_and_distance(kind)[0]
    weights = weights_of(net)
    direction = random_direction(weights, Generator().manual_seed(0))
    assert direction.keys() == weights.keys()
    moved = 0
    for name, value in weights.items():
        assert direction[name].shape == value.shape
        if value.ndim == 1 or name.endswith("weight.original0"):  # the gain of a weight norm, one number per filter
            assert not direction[name].any(), name
            continue
        for filter_, along in zip(value, direction[name], strict=True):
            assert float(along.norm()) == pytest.approx(float(filter_.norm()), rel=1e-5), name
        assert not torch.equal(direction[name], value)
        moved += 1
    assert moved >= 6
    assert not any(name.startswith("interval_head.") for name in direction), "no loss depends on it"


def test_the_seed_decides_a_direction_and_a_filter_of_zeros_stays() -> None:
    weights = {"a": torch.randn(3, 4), "zero": torch.zeros(2, 5)}
    first, again, other = (random_direction(weights, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["a"], again["a"])
    assert not torch.equal(first["a"], other["a"])
    assert torch.equal(first["zero"], weights["zero"])


# --- the surface -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
def test_the_middle_of_a_map_is_the_net_itself(kind: str) -> None:
    net, distance, low, high = net_and_distance(kind)
    own, before = distance(), {name: value.clone() for name, value in net.state_dict().items()}
    difference = (net(low) - high).numpy().astype(np.float64)
    assert own.loss == pytest.approx(np.sqrt(difference**2 + 0.05**2).mean(), rel=1e-5)
    squares = (difference**2).reshape(2, -1).mean(axis=1)
    assert own.psnr == pytest.approx(float(np.mean(-10 * np.log10(squares))), abs=1e-3)
    generator = Generator().manual_seed(0)
    weights = weights_of(net)
    directions = (random_direction(weights, generator), random_direction(weights, generator))
    axis = grid(-1, 1, 3)
    loss, psnr = Plane(net, directions, distance).surface(axis, axis, ignore)
    assert loss[1, 1] == own.loss, "exactly"
    assert psnr[1, 1] == own.psnr
    assert len(np.unique(loss)) == 9, "and everywhere else it is another net"
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} is put back"


def test_turning_a_direction_round_turns_the_map_round() -> None:
    net, distance, _, _ = net_and_distance("plane")
    generator = Generator().manual_seed(0)
    first, second = (random_direction(weights_of(net), generator) for _ in range(2))
    turned = {name: -value for name, value in first.items()}
    axis = grid(-1, 1, 5)
    loss, psnr = Plane(net, (first, second), distance).surface(axis, axis, ignore)
    other, other_psnr = Plane(net, (turned, second), distance).surface(axis, axis, ignore)
    np.testing.assert_array_equal(other, loss[:, ::-1])
    np.testing.assert_array_equal(other_psnr, psnr[:, ::-1])
    swapped, _ = Plane(net, (second, first), distance).surface(axis, axis, ignore)
    np.testing.assert_allclose(swapped, loss.T, rtol=1e-5)


class Bowl(nn.Module):
    """Four weights whose loss is a quadratic form about 1, 2, 0, 0."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64), requires_grad=False)

    def __call__(self) -> Measured:
        x, y, u, v = (self.w - torch.tensor([[1.0, 2.0], [0.0, 0.0]])).flatten().tolist()
        return Measured(x**2 + 4 * y**2 + 10 * (u**2 + v**2), 0.0)


def along(*values: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float64).reshape(2, 2)}


def test_a_quadratic_loss_has_elliptic_contours() -> None:
    bowl = Bowl()
    x, y = grid(-2, 2, 41), grid(-1, 1, 21)
    loss, _ = Plane(bowl, (along(1, 0, 0, 0), along(0, 1, 0, 0)), bowl).surface(x, y, ignore)
    np.testing.assert_allclose(loss, x**2 + 4 * y[:, None] ** 2, atol=1e-12)
    for level in (0.3, 1.0, 2.0):
        (line,) = contours(Surface(x, y, loss), level)
        # Linear interpolation between grid points 0.1 apart is off by at most 0.1**2 / 8 times the second derivative.
        np.testing.assert_allclose(line[:, 0] ** 2 + 4 * line[:, 1] ** 2, level, atol=0.1**2 / 8 * 8)
        assert np.abs(line[:, 0]).max() == pytest.approx(math.sqrt(level), abs=0.02)
        assert np.abs(line[:, 1]).max() == pytest.approx(math.sqrt(level) / 2, abs=0.02)


def test_weights_are_put_back_when_a_measurement_is_stopped() -> None:
    bowl = Bowl()
    before = bowl.w.clone()

    def stop() -> Measured:
        raise KeyboardInterrupt

    plane = Plane(bowl, (along(1, 1, 0, 0), along(0, 0, 1, 0)), stop)
    with pytest.raises(KeyboardInterrupt):
        plane.at((0.7, 0.3))
    assert torch.equal(bowl.w, before)


@given(st.floats(-100, 0), st.floats(0, 100), st.integers(5, 60))
@settings(max_examples=40)
def test_a_grid_holds_zero_and_reaches_about_as_far_as_asked(low: float, high: float, points: int) -> None:
    if high - low < 1e-3:
        return
    values = grid(low, high, points)
    step = (high - low) / (points - 1)
    assert len(values) == points
    assert 0.0 in values
    np.testing.assert_allclose(np.diff(values), step)
    assert abs(values[0] - low) <= 0.51 * step
    assert abs(values[-1] - high) <= 0.51 * step


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=9))
@settings(max_examples=40)
def test_a_map_shows_the_whole_path_and_its_end(places: list[float]) -> None:
    low, high = span(np.array(places))
    assert low <= min(0, *places, 0)
    assert high >= max(0, *places, 0)
    if max(map(abs, places)) > 1e-6:
        values = grid(low, high, 25)
        assert values[0] < min([0, *places])
        assert values[-1] > max([0, *places])


# --- main directions -------------------------------------------------------------------------------------------------


def path_of(points: np.ndarray[Any, Any]) -> list[dict[str, Tensor]]:
    """Weights in two tensors, and one that is no parameter."""
    return [{"a": torch.from_numpy(p[:6]).reshape(2, 3), "b": torch.from_numpy(p[6:]), "more": p[:1]} for p in points]


def test_a_straight_path_has_one_direction_that_explains_all() -> None:
    random = np.random.default_rng(0)
    end, way = random.normal(size=10), random.normal(size=10)
    path = end + np.linspace(-3, -0.5, 7)[:, None] * way
    found = main_directions({"a": path_of(end[None])[0]["a"], "b": path_of(end[None])[0]["b"]}, path_of(path))
    assert len(found.directions) == 1
    assert found.explained[0] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.inside, 1)
    np.testing.assert_allclose(found.places[:, 0], np.linspace(-3, -0.5, 7) * np.linalg.norm(way))


@given(st.integers(0, 1000), st.integers(2, 8))
@settings(max_examples=40)
def test_main_directions_are_those_of_a_singular_value_decomposition(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    end = random.normal(size=12)
    path = end + random.normal(size=(count, 12)) * np.linspace(3, 0.5, 12)
    first = path_of(end[None])[0]
    found = main_directions({"a": first["a"], "b": first["b"]}, path_of(path))
    points = np.vstack([path, end])
    _, values, axes = np.linalg.svd(points - points.mean(axis=0))
    np.testing.assert_allclose(found.explained, (values**2 / (values**2).sum())[:count], atol=1e-9)
    for number, direction in enumerate(found.directions):
        own = torch.cat([direction["a"].flatten(), direction["b"]]).numpy()
        assert np.linalg.norm(own) == pytest.approx(1)
        assert abs(own @ axes[number]) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose((path - end) @ own, found.places[:, number], atol=1e-9)
        farthest = found.places[np.abs(found.places[:, number]).argmax(), number]
        assert farthest < 0, "the path comes from the left, and from below"
    squares = ((path - end) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.inside, (found.places**2).sum(axis=1) / squares)


def test_a_random_walk_has_the_shares_that_the_page_warns_of() -> None:
    """6 / (pi k)^2 for direction k: Antognini & Sohl-Dickstein 2018, arXiv 1806.08805."""
    steps = np.random.default_rng(0).normal(size=(60, 30_000)).astype(np.float32)
    walk = np.cumsum(steps, axis=0)
    path = [{"w": torch.from_numpy(point)} for point in walk]
    explained = main_directions(path[-1], path[:-1]).explained
    np.testing.assert_allclose(explained[:3], [6 / (math.pi * k) ** 2 for k in (1, 2, 3)], rtol=0.05)
    assert f"{6 / math.pi**2:.0%} {6 / (2 * math.pi) ** 2:.0%}" == "61% 15%"


def test_weights_that_never_moved_have_no_direction() -> None:
    end = {"w": torch.ones(3, 3)}
    found = main_directions(end, [end, end])
    assert not found.directions
    assert found.explained.tolist() == [0, 0]
    assert main_directions(end, []).explained.size == 0
