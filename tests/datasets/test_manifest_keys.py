"""What a manifest may say of a set beyond its images: addresses, archives, a datasheet; and paths that stay inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from superres.datasets.manifest import load_manifest, parse_manifest
from superres.datasets.manifest_format import RelativePath
from superres.datasets.manifest_reading import read_entry
from superres.errors import InputError

NO_CHECKSUM = {"file": "a.tif", "sha256": None}
EVERYTHING: dict[str, Any] = {
    "name": "cells",
    "description": "Cells.",
    "licence": "CC BY 4.0",
    "credit": "A. Biologist",
    "source": "our microscope",
    "url": "https://example.org/cells",
    "doi": "10.5281/zenodo.1234",
    "cite": "A paper",
    "version": "2",
    "instrument": "confocal",
    "unknown": "the objective",
    "reading": "as TIFF",
    "datasheet": {"why": "to learn", "how": "by hand", "biases": "bright cells"},
    "archives": [{"archive": "all.zip", "sha256": None, "bytes": 12, "url": "https://example.org/all.zip"}],
    "acquisitions": [
        {
            "id": "dish_1",
            "split": "test",
            "instrument": "widefield",
            "doi": "10.1000/x",
            "high": [NO_CHECKSUM | {"archive": "all.zip", "member": "deep/a.tif", "bytes": 3}],
            "low": [{"file": "b.tif", "sha256": "a" * 64, "url": "doi:10.5281/zenodo.1234/b.tif"}],
            "factor": [1, 2, 2],
        }
    ],
}


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "cells.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def changed(**keys: Any) -> dict[str, Any]:
    return EVERYTHING | keys


def with_file(**keys: Any) -> dict[str, Any]:
    acquisition = EVERYTHING["acquisitions"][0]
    return changed(acquisitions=[acquisition | {"high": [NO_CHECKSUM | keys], "low": [], "factor": None}])


def with_pair(high: dict[str, Any], low: dict[str, Any]) -> dict[str, Any]:
    acquisition, both = EVERYTHING["acquisitions"][0], {"file": "b.tif", "sha256": None}
    return changed(acquisitions=[acquisition | {"high": [both | high], "low": [both | low]}])


def test_everything_that_may_be_said_is_read(tmp_path: Path) -> None:
    entry = read_entry(write(tmp_path, EVERYTHING | {"published": "2020-11-27"}))
    assert entry.unknown == ("the objective",)
    assert (entry.datasheet.biases, entry.datasheet.limits) == ("bright cells", None)
    assert str(entry.published) == "2020-11-27"
    assert entry.archives[0].bytes == 12
    assert entry.acquisitions[0].high[0].member == "deep/a.tif"
    assert parse_manifest(write(tmp_path, EVERYTHING)).acquisitions[0].high_sha256 == ("",)


FAULTS = [
    (changed(datasheet={"whi": "x"}), r"datasheet\.whi: unknown key; did you mean why\?"),
    (changed(archives=[{"archive": "a.zip", "sha256": None, "adress": "x"}]), r"adress: unknown key; known keys: arch"),
    (changed(archives=[{"archive": "sub/a.zip", "sha256": None}]), r"without a folder, such as images\.zip"),
    (changed(archives=[]), r"a\.tif: archive all\.zip is not listed under 'archives:'; add it"),
    (changed(archives=EVERYTHING["archives"] * 2), r"the same name twice"),
    (changed(doi="https://doi.org/10.1000/x"), r"doi: expected a DOI without anything before it"),
    (changed(url="ftp://example.org"), r"url: expected an address that begins with https://"),
    (changed(url="file:///etc/passwd"), r"url: expected an address"),
    (changed(version=2), r"version: expected text; put it in quotes \(got 2\)"),
    (
        changed(evaluation_only="GPL", acquisitions=[EVERYTHING["acquisitions"][0] | {"split": "train"}]),
        r"must be test",
    ),
    (changed(acquisitions=[], archives=[], unknown=[]), r"acquisitions: expected at least 1 item"),
    (changed(acquisitions=[], licence=None), r"no licence; add 'licence:' at the top"),
    (with_file(url="https://x.org/a", archive="all.zip"), r"give either url, or archive and member, not both"),
    (with_file(member="a.tif"), r"member is a path inside an archive; add 'archive:'"),
    (with_file(channels=[0]), r"channels says which part of a file is high and which is low, and there are no low"),
    (with_file(channels=[0, 0]), r"high\[1\]\.channels: expected each channel once"),
    (with_pair({}, {}), r"b\.tif is both low and high; say which channels of it are which"),
    (with_pair({"channels": [0, 1]}, {"channels": [1]}), r"b\.tif is both low and high"),
    (with_pair({"channels": [-1]}, {"channels": [1]}), r"high\[1\]\.channels\[1\]: .*greater than or equal to 0"),
    (with_file(bytes=-1), r"high\[1\]\.bytes: .*greater than or equal to 0"),
    (with_file(file="../a.tif"), r"high\[1\]\.file: expected a path inside the data root; '\.\.' would leave it"),
    (with_file(file="sub/../../a.tif"), r"'\.\.' would leave it"),
    (with_file(file="/etc/passwd"), r"not an absolute one"),
    (with_file(file="C:/data/a.tif"), r"not an absolute one"),
    (with_file(file="~/a.tif"), r"not an absolute one"),
    (with_file(file="sub\\a.tif"), r"separated by /, also on Windows"),
    (with_file(file="a\0.tif"), r"without control characters|not valid YAML"),
    (with_file(file="."), r"the path of a file below the data root"),
]


@pytest.mark.parametrize(("values", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_fault_is_named_once(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_entry(write(tmp_path, values))
    assert len(str(caught.value).splitlines()) <= 2, "one fault, one line"


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "ü"]), min_size=1, max_size=5).map("/".join))
def test_a_path_that_is_taken_stays_inside(path: str) -> None:
    try:
        taken = TypeAdapter(RelativePath).validate_python(path)
    except ValidationError:
        return
    root = Path("/data/root")
    assert Path(root / taken).resolve().is_relative_to(root)
    assert Path(root / taken).resolve() != root


def test_a_file_without_checksum_is_not_trained_on(tmp_path: Path) -> None:
    """The message holds the line to add, so that it is a matter of one paste."""
    (tmp_path / "a.tif").write_text("a")
    values = changed(acquisitions=[{"id": "a", "split": "test", "high": [NO_CHECKSUM]}])
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    with pytest.raises(InputError, match=rf"a\.tif: .*gives no SHA-256 for it \(a\).*write 'sha256: {digest}' there"):
        load_manifest(write(tmp_path, values), tmp_path)


def test_files_without_checksum_are_not_the_same_file(tmp_path: Path) -> None:
    other = {"file": "c.tif", "sha256": None}
    acquisitions = [
        {"id": "a", "split": "train", "high": [NO_CHECKSUM]},
        {"id": "b", "split": "val", "high": [other]},
    ]
    assert len(parse_manifest(write(tmp_path, changed(acquisitions=acquisitions))).acquisitions) == 2


def test_archives_alone_cannot_be_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path, changed(acquisitions=[]))
    assert read_entry(path).acquisitions == ()
    with pytest.raises(InputError, match=r"lists archives and no images yet; fetch them with 'superres data fetch"):
        load_manifest(path)
