"""Few images: exactly as many as asked for, spread over the acquisitions, decided by the seed alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.datasets.acquisition import Acquisition
from superres.datasets.choice import choose_images
from superres.errors import ConfigError

sizes = st.lists(st.integers(1, 8), min_size=1, max_size=8)


def acquisitions(numbers: list[int]) -> list[Acquisition]:
    return [
        Acquisition(
            id=f"a{index}",
            split="train",
            high=tuple(Path(f"high{index}_{image}.tif") for image in range(number)),
            low=tuple(Path(f"low{index}_{image}.tif") for image in range(number)),
            axes=None,
            voxel_size=(None, None, None),
            grey_range=None,
            source="",
            licence="",
            credit="",
            high_sha256=tuple(f"{index}-{image}" for image in range(number)),
        )
        for index, number in enumerate(numbers)
    ]


@given(sizes, st.integers(0, 2**32), st.data())
def test_as_many_as_asked_for_spread_over_the_acquisitions(numbers: list[int], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, sum(numbers)))
    chosen = choose_images(acquisitions(numbers), count, seed)
    assert sum(map(len, chosen)) == count
    assert all(list(images) == sorted(set(images)) for images in chosen)
    assert all(0 <= image < number for images, number in zip(chosen, numbers, strict=True) for image in images)
    most = max(map(len, chosen))
    assert all(len(images) >= min(most - 1, number) for images, number in zip(chosen, numbers, strict=True))


@given(sizes, st.integers(0, 2**32), st.data())
def test_the_choice_grows(numbers: list[int], seed: int, data: st.DataObject) -> None:
    """More images hold those of fewer, so that trainings on 1, 4 and 16 differ in what was added."""
    fewer, more = sorted(data.draw(st.tuples(*[st.integers(1, sum(numbers))] * 2)))
    small, large = (choose_images(acquisitions(numbers), count, seed) for count in (fewer, more))
    assert all(set(a) <= set(b) for a, b in zip(small, large, strict=True))


def test_the_seed_decides() -> None:
    found = {tuple(choose_images(acquisitions([20, 20]), 3, seed)) for seed in range(20)}
    assert len(found) > 10


@given(sizes)
def test_all_or_too_many(numbers: list[int]) -> None:
    everything = [tuple(range(number)) for number in numbers]
    assert choose_images(acquisitions(numbers), None, 0) == choose_images(acquisitions(numbers), sum(numbers), 5)
    assert choose_images(acquisitions(numbers), None, 0) == everything
    with pytest.raises(ConfigError, match=f"list {sum(numbers)} images.*image_count={sum(numbers)} or less"):
        choose_images(acquisitions(numbers), sum(numbers) + 1, 0)


def test_what_belongs_to_an_image_stays_with_it() -> None:
    (whole,) = acquisitions([5])
    some = whole.of_images((1, 4))
    assert [path.name for path in (*some.high, *some.low)] == ["high0_1.tif", "high0_4.tif", "low0_1.tif", "low0_4.tif"]
    assert some.high_sha256 == ("0-1", "0-4")
    assert some.shifts == (), "what says nothing of any file stays empty"
    assert whole.of_images(range(5)) == whole
