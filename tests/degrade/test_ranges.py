"""Ranges of a recipe lie around the fit, and hold what every recording has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from superres.config import DegradeStep
from superres.degrade.chain import middle
from superres.degrade.microscope import NEGLIGIBLE, Microscope
from superres.degrade.ranges import ranges

microscopes = st.builds(
    Microscope,
    blur=st.floats(0, 8),
    sampling=st.just("binning"),
    photons=st.floats(1, 1e5),
    read=st.floats(1e-4, 1),
    haze=st.just(0.0) | st.floats(0.05, 0.95),
    haze_sigma=st.floats(4, 24),
    jitter=st.just(0.0) | st.floats(0, 3),
    smoothing=st.just(0.0) | st.floats(0, 3),
)


def limits(steps: tuple[DegradeStep, ...]) -> dict[str, tuple[float, float]]:
    """Find the range of every number of a microscope that stands in the steps."""
    found: dict[str, tuple[float, float]] = {}
    for step in steps:
        if step.blur is not None and step.blur.sigma is not None:
            found |= {"smoothing" if "photons" in found else "blur": step.blur.sigma}
            if "photons" not in found and step.blur.haze[1] > 0:
                found |= {"haze": step.blur.haze, "haze_sigma": step.blur.haze_sigma}
        elif step.poisson is not None:
            found["photons"] = step.poisson.photons
        elif step.read_noise is not None:
            found["read"] = step.read_noise.sd
        elif step.line_jitter is not None:
            found["jitter"] = step.line_jitter.sd
    return found


@given(fitted=microscopes, alone=st.lists(microscopes, max_size=4))
def test_ranges_hold_the_fit_and_every_recording(fitted: Microscope, alone: list[Microscope]) -> None:
    found = limits(ranges(fitted, alone))
    for one in (fitted, *alone):
        for name in ("blur", "haze", "haze_sigma", "photons", "read", "jitter", "smoothing"):
            value = getattr(one, name)
            if name == "haze_sigma" and one.haze == 0:
                continue  # it says nothing then
            if name in found:
                assert found[name][0] * (1 - 1e-3) <= value <= found[name][1] * (1 + 1e-3)
            else:  # left out, since it leaves no trace in any of them
                assert value <= NEGLIGIBLE


@given(fitted=microscopes)
def test_a_single_fit_is_the_middle_of_its_ranges(fitted: Microscope) -> None:
    fitted = replace(fitted, blur=max(fitted.blur, 1.0))
    assume(all(value == 0 or value > 2 * NEGLIGIBLE for value in (fitted.jitter, fitted.smoothing)))
    for wide, exact in zip(middle(ranges(fitted)), middle(fitted.steps()), strict=True):
        found, expected = (next(iter(step.model_dump(exclude_none=True).items())) for step in (wide, exact))
        assert found[0] == expected[0]
        if isinstance(expected[1], dict):
            assert {key: value[0] for key, value in found[1].items()} == pytest.approx(
                {key: value[0] for key, value in expected[1].items()}, rel=1e-3
            )


def test_more_recordings_never_make_a_range_narrower() -> None:
    fitted = Microscope(1.5, "binning", 100, 0.02)
    apart = replace(fitted, blur=2.5, photons=30)
    single, several = limits(ranges(fitted)), limits(ranges(fitted, [fitted, apart]))
    assert (single["blur"], single["photons"]) == ((1.2, 1.8), (70, 130))
    assert (several["blur"], several["photons"]) == ((1.2, 2.5), (30, 130))
    assert several["read"] == single["read"]
