"""The data sets that the project lists: origin told, terms kept, described in one table, and whole where they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from superres.datasets.croissant import croissant_text, from_croissant
from superres.datasets.datacard import credits, data_card, licences, sets_table
from superres.datasets.manifest_check import check_manifest
from superres.datasets.manifest_reading import read_entry

FOLDER = Path(__file__).parents[2] / "data_manifests"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
OPEN_LICENCES = ("CC0", "CC BY 3.0", "CC BY 4.0", "MIT", "BSD-3-Clause")
each = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)


def test_the_sets_of_the_field_are_listed() -> None:
    named = {path.stem for path in MANIFESTS}
    assert named >= {"em", "fluorescence", "pairs_snr", "stack3d", "timelapse", "noisy_only", "skimage_cells"}
    assert named >= {"biosr", "sr_caco_2", "w2s", "pssr_em"}


@each
def test_a_set_says_what_it_is_and_whose(path: Path) -> None:
    entry = read_entry(path)
    assert entry.name == path.stem
    assert licences(entry)
    assert credits(entry)
    assert entry.datasheet.why
    assert entry.datasheet.how
    assert entry.datasheet.biases
    assert entry.datasheet.uses


@each
def test_nothing_closed_is_trained_on(path: Path) -> None:
    entry = read_entry(path)
    for item in entry.acquisitions:
        licence = item.licence or entry.licence or ""
        is_open = licence.startswith(OPEN_LICENCES) and "GPL-3.0 (" not in licence
        assert is_open or item.split == "test", f"{item.id}: {licence} in {item.split}"
        assert "GPL" not in licence.split(";")[0] or entry.evaluation_only, (
            f"{item.id}: say that it is no training data"
        )


@each
def test_what_is_lacking_is_said(path: Path) -> None:
    """A missing checksum, address, voxel size or licence stands in words under `unknown`."""
    entry = read_entry(path)
    said = " ".join(entry.unknown).lower()
    files = [file for item in entry.acquisitions for file, _ in item.files]
    if any(file.sha256 is None for file in (*files, *entry.archives)):
        assert "checksum" in said
    if not entry.acquisitions and not entry.archives:
        assert "fetch by hand" in said
    if any(not text.startswith((*OPEN_LICENCES, "CC BY-NC", "GPL")) for text in licences(entry)):
        assert "licence" in said


@each
def test_it_goes_out_as_croissant_and_comes_back(path: Path) -> None:
    entry = read_entry(path)
    back = from_croissant(json.loads(croissant_text(entry)))
    assert back == entry


@each
def test_its_card_holds_what_matters(path: Path) -> None:
    entry = read_entry(path)
    card = data_card(entry, path)
    for text in (*licences(entry), *credits(entry), *(item.id for item in entry.acquisitions), *entry.unknown):
        assert " ".join(text.split()) in card
    assert "## Known biases" in card
    assert "None" not in re.sub(r"None (listed|:|of|here)", "", card.replace("None: ", ""))


def test_acquisition_names_are_unique_over_all_sets() -> None:
    names = [item.id for path in MANIFESTS for item in read_entry(path).acquisitions]
    assert len(names) == len(set(names))


def test_the_table_is_in_step() -> None:
    """Run ``superres data card data_manifests`` and put what it prints between the two marks."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    found = text.partition("<!-- table -->\n")[2].partition("<!-- /table -->")[0]
    assert found == sets_table((path.name, read_entry(path)) for path in MANIFESTS)


@pytest.mark.realdata
@each
def test_local_images_are_as_the_manifest_says(path: Path, data_root: Path) -> None:
    entry = read_entry(path)
    files = [file.file for item in entry.acquisitions for file, _ in item.files]
    if not files or not any((data_root / file).is_file() for file in files):
        assert entry.unknown or entry.archives, "a set that is not here says why, or where from"
        return
    result = check_manifest(path, data_root)
    assert result.is_good, [*result.problems, *(item for item in result.files if item.problems)]
