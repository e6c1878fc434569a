from __future__ import annotations

import dataclasses

from superres.modelfile import ModelHeader
from superres.plugin.card import card, mismatch

HEADER = ModelHeader(
    name="em<4x>",
    architecture={},
    factor=(1, 4, 4),
    channels=1,
    receptive_radius=(0, 40, 40),
    stride=(1, 4, 4),
    intensity={},
    voxel_size=(None, 0.032, 0.032),
    training={
        "manifests": [{"name": "em-cells", "sha256": "0"}],
        "acquisitions": [{"licence": "CC-BY-4.0"}, {"licence": "CC0-1.0"}],
    },
)


def test_card_says_what_a_person_must_know() -> None:
    text = card(HEADER)
    assert "em&lt;4x&gt;" in text
    assert "4 times finer along Y and X" in text
    assert "Trained on 2 acquisitions of em-cells" in text
    assert "0.032 µm along Y and X" in text
    assert "CC-BY-4.0, CC0-1.0" in text
    assert "not for measurement" not in text
    assert "not for measurement" in card(dataclasses.replace(HEADER, display=True))
    assert "2 times along Z" in card(dataclasses.replace(HEADER, factor=(2, 2, 2)))
    assert "without making them finer" in card(dataclasses.replace(HEADER, factor=(1, 1, 1)))
    assert "neighbouring planes" in card(dataclasses.replace(HEADER, context={"axis": "z", "frames": 5}))


def test_other_voxel_sizes_are_told_with_figures() -> None:
    assert mismatch(HEADER, (0.5, 0.030, 0.030)) == ""
    assert mismatch(HEADER, None) == ""
    assert mismatch(dataclasses.replace(HEADER, voxel_size=(None, None, None)), (0.5, 1.0, 1.0)) == ""
    told = mismatch(HEADER, (0.5, 0.128, 0.128))
    assert "0.128 µm along Y and X" in told and "trained for 0.032 µm along Y and X" in told and "0.5" not in told
    assert "0.128 µm along X" in mismatch(HEADER, (0.5, 0.032, 0.128))
