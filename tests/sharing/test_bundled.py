"""What lies in the package: every model with a complete card, its own weights, small, and free to be passed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from superres.errors import ModelFileError
from superres.sharing import bundled_models, names
from superres.sharing.completeness import complete_card
from superres.sharing.describe import Description, describe
from superres.sharing.listing import list_bundled
from superres.sharing.page import card_markdown

DOCS = Path(__file__).parents[2] / "docs" / "models"
MODEL_BYTES, BOX_BYTES = 10e6, 40e6
MakeModel = Callable[..., Path]


def check_box() -> None:
    """Hold the box to all that is asked of it."""
    known = {names.BOX / "README.md"} & set(names.BOX.iterdir())
    for name, path in bundled_models().items():
        file, card = complete_card(path)
        assert path.stat().st_size <= MODEL_BYTES, f"{name} is larger than 10 MB"
        assert card.modality, f"{name} can never be suggested: describe it with --modality"
        assert file.header.name == name, f"{name} calls itself {file.header.name}"
        assert not file.header.display, f"{name} is for display"
        known |= {path, *(path.parent / one.file for one in card.pictures)}
    files = {path for path in names.BOX.rglob("*") if path.is_file()}
    assert files == known, "something lies in the box that is of no model"
    assert sum(path.stat().st_size for path in files) <= BOX_BYTES


def test_the_models_in_the_package() -> None:
    check_box()
    assert (names.BOX / "README.md").is_file()


@pytest.mark.parametrize("name", bundled_models())
def test_the_card_stands_in_the_documentation(name: str) -> None:
    """`superres models info NAME --page docs/models/NAME.md` writes it."""
    file, card = complete_card(bundled_models()[name])
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == card_markdown(file)
    for picture in card.pictures:
        assert (DOCS / picture.file).read_bytes() == (names.BOX / picture.file).read_bytes()


@pytest.fixture
def bundled(box: Path, make_model: MakeModel, make_report: Callable[..., Path]) -> Path:
    model = make_model(box / "em-x4.safetensors")
    words = Description(
        evaluations=(make_report(model),), purpose="tissue", not_for=("cells",), licence="CC0-1.0", modality="electron",
        machine="2 cores",
    )  # fmt: skip
    describe(model, words)
    return model


def test_a_good_box(bundled: Path) -> None:
    check_box()
    (one,) = list_bundled()
    assert (one.name, one.purpose, one.licence, one.factor) == ("em-x4", "tissue", "CC0-1.0", (1, 4, 4))
    assert one.size == bundled.stat().st_size
    assert one.voxel_range == (None, (0.04, 0.04), (0.04, 0.04))


def test_what_may_not_lie_in_a_box(bundled: Path, make_model: MakeModel) -> None:
    (bundled.parent / "em-x4.pictures" / "more.png").write_bytes(b"")
    with pytest.raises(AssertionError, match="is of no model"):
        check_box()
    (bundled.parent / "em-x4.pictures" / "more.png").unlink()
    make_model(bundled.parent / "bare.safetensors", name="bare")
    with pytest.raises(ModelFileError, match=r"bare.safetensors: cannot be passed on: it has no card"):
        check_box()


def test_an_empty_box_is_listed(box: Path) -> None:
    assert list_bundled() == ()
