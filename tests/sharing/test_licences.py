"""Which licences of images let a model be passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from superres.modelfile import ModelHeader
from superres.sharing.licences import objection, objections


@pytest.mark.parametrize(
    "licence",
    [
        "CC0", "CC0-1.0", 'CC0 (GigaDB 10.5524/100888, "Creative Commons CC0 waiver")', "CC BY 4.0", "CC-BY-4.0",
        "CC BY 4.0 (repo LICENSE.md)", "MIT (repo LICENSE, EMBL)", "BSD-3-Clause (repo LICENSE)", "public domain",
        "CC BY 3.0 US text in repo LICENSE.txt (CCPL; attribution, no NC/ND/SA clause)", "Apache-2.0",
    ],
)  # fmt: skip
def test_open_licences(licence: str) -> None:
    assert objection(licence) == ""


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("CC BY-NC-SA 4.0", "forbids commercial use"),
        ("CC-BY-NC 4.0", "forbids commercial use"),
        ("free for non-commercial research", "forbids commercial use"),
        ("CC BY-ND 4.0", "forbids what is made from the images"),
        ("CC BY-SA 4.0", "under the same licence"),
        ("GPL-3.0 (repo LICENSE; repo owner = data author)", "under the GPL"),
        ("LGPL", "under the GPL"),
        ("CC BY 4.0 (Convallaria); copy taken from a GPL-3.0 repo", "under the GPL"),
        ("not stated (provided to scikit-image by the Allen Institute)", "is not told"),
        ("", "is not told"),
        ("ours", "is not known to allow it"),
        ("submitted by hand", "is not known to allow it"),
    ],
)
def test_other_licences_say_why_not(licence: str, reason: str) -> None:
    assert reason in objection(licence)


def test_all_that_it_ever_learnt_from_counts(make_header: Callable[..., ModelHeader]) -> None:
    bad = [{"id": "x", "licence": "CC BY-NC 4.0", "credit": "c"}, {"id": "y", "licence": "CC BY-NC 4.0", "credit": "c"}]
    lineage: list[dict[str, Any]] = [{"name": "old", "sha256": "0", "training": {"acquisitions": bad}}]
    assert objections(make_header()) == ()
    assert objections(make_header(lineage=lineage)) == ("the licence of x, y (CC BY-NC 4.0) forbids commercial use",)
    assert objections(make_header(training={})) == ("the licence of its training data is not told",)
