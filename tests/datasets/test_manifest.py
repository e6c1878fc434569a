"""A manifest is checked strictly, and every image in it must be the one that was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from superres.datasets import Manifest, load_manifest
from superres.datasets.manifest import load_manifests, parse_manifest
from superres.errors import InputError, MissingFileError


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERRES_DATA", raising=False)


def listed(folder: Path, name: str) -> dict[str, str]:
    """Write a small file (its name is its content) and return its entry."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(name)
    return {"file": name, "sha256": hashlib.sha256(name.encode()).hexdigest()}


def content(folder: Path) -> dict[str, Any]:
    return {
        "name": "cells",
        "description": "Cells of two dishes.",
        "licence": "CC0",
        "credit": "A. Biologist",
        "source": "our microscope",
        "acquisitions": [
            {"id": "dish_1", "split": "train", "high": [listed(folder, "a.tif"), listed(folder, "b.tif")]},
            {"id": "dish_2", "split": "val", "high": [listed(folder, "c.tif")], "low": [listed(folder, "d.tif")]},
        ],
    }


def write(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_manifest_is_read(tmp_path: Path) -> None:
    values = content(tmp_path)
    values["acquisitions"][0] |= {"axes": "YXC", "voxel_size": [None, 0.1, 0.2], "grey_range": [0, 255]}
    values["acquisitions"][1] |= {"licence": "MIT", "modality": "confocal"}
    path = write(tmp_path / "cells.yaml", values)
    manifest = load_manifest(path)
    first, second = manifest.acquisitions
    assert isinstance(manifest, Manifest)
    assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (first.id, first.split, first.axes, first.grey_range) == ("dish_1", "train", "YXC", (0.0, 255.0))
    assert first.high == (tmp_path / "a.tif", tmp_path / "b.tif")
    assert (first.low, first.voxel_size, first.licence) == ((), (None, 0.1, 0.2), "CC0")
    assert (second.low, second.voxel_size, second.licence) == ((tmp_path / "d.tif",), (None, None, None), "MIT")
    assert manifest.of_split("val") == (second,)
    assert manifest.of_split("test") == ()
    assert (manifest.licences, manifest.credits) == (("CC0", "MIT"), ("A. Biologist",))


def test_root_is_found_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = content(tmp_path)
    path = write(tmp_path / "cells.yaml", values)
    assert load_manifest(path).acquisitions[0].high[0] == tmp_path / "a.tif"
    for name in ("variable", "setting", "lab"):
        content(tmp_path / name)
    monkeypatch.setenv("SUPERRES_DATA", str(tmp_path / "variable"))
    assert load_manifest(path).acquisitions[0].high[0] == tmp_path / "variable" / "a.tif"
    assert load_manifest(path, tmp_path / "setting").acquisitions[0].high[0] == tmp_path / "setting" / "a.tif"
    write(path, values | {"root": "lab"})
    assert load_manifest(path, tmp_path / "setting").acquisitions[0].high[0] == tmp_path / "lab" / "a.tif"


def acquisition(values: dict[str, Any], **changes: object) -> None:
    values["acquisitions"][0] |= changes


def drop(values: dict[str, Any], key: str) -> None:
    del values[key]


FAULTS = [
    (lambda v: v.update(licens="MIT"), r"licens: unknown key; did you mean licence\?"),
    (lambda v: acquisition(v, spilt="val"), r"acquisitions\[dish_1\]\.spilt: unknown key; did you mean split\?"),
    (lambda v: v["acquisitions"][0]["high"][1].update(sha=1), r"high\[2\]\.sha: unknown key; did you mean sha256\?"),
    (lambda v: acquisition(v, qqqq=1), r"unknown key; known keys: id, split, high"),
    (lambda v: acquisition(v, split="training"), r"\[dish_1\]\.split: .*'train', 'val' or 'test' \(got 'training'\)"),
    (lambda v: acquisition(v, id=12), r"acquisitions\[12\]\.id: expected text; put it in quotes \(got 12\)"),
    (lambda v: acquisition(v, high=[]), r"\[dish_1\]\.high: .*at least 1 item"),
    (lambda v: acquisition(v, low=[v["acquisitions"][0]["high"][0]]), r"low lists 1 and high 2 files"),
    (lambda v: acquisition(v, grey_range=[255, 0]), r"\[dish_1\]\.grey_range|black below white|smallest, largest"),
    (lambda v: acquisition(v, grey_range=[7, 7]), r"black below white"),
    (lambda v: acquisition(v, voxel_size=[1, 0, 1]), r"voxel_size\[2\]: .*greater than 0"),
    (lambda v: acquisition(v, voxel_size=[1, 1]), r"voxel_size"),
    (lambda v: acquisition(v, axes="YXS"), r"\[dish_1\]\.axes: expected letters of TCZYX.*got 'YXS'"),
    (lambda v: v["acquisitions"][0]["high"][0].update(sha256="12ab"), r"high\[1\]\.sha256: expected the 64 hexadec"),
    (lambda v: v["acquisitions"][0]["high"][0].pop("sha256"), r"high\[1\]\.sha256: missing"),
    (lambda v: v["acquisitions"].append("dish_3"), r"acquisitions\[3\]"),
    (lambda v: drop(v, "description"), r"description: missing"),
    (lambda v: drop(v, "licence"), r"no licence for dish_1, dish_2; add 'licence:' there, or at the top"),
    (lambda v: v.update(acquisitions=[]), r"acquisitions: .*at least 1 item"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_fault_is_named(tmp_path: Path, spoil: Any, message: str) -> None:
    values = content(tmp_path)
    spoil(values)
    path = write(tmp_path / "cells.yaml", values)
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    values = content(tmp_path)
    acquisition(values, split="training", axes="QYX", colour="red")
    with pytest.raises(InputError) as caught:
        load_manifest(write(tmp_path / "cells.yaml", values))
    first, *faults = str(caught.value).splitlines()
    assert first.endswith("3 faults in this manifest")
    assert len(faults) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- a\n- b", "expected 'key: value' lines, found list"),
        ("", "expected 'key: value' lines, found NoneType"),
        ("name: a\nname: b", "key 'name' twice"),
    ],
)
def test_broken_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cells.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_manifest(path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml: no such manifest"):
        load_manifest(tmp_path / "none.yaml")


def test_missing_file_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "cells.yaml", content(tmp_path))
    (tmp_path / "c.tif").unlink()
    with pytest.raises(MissingFileError, match=r"c\.tif: no such file, .*dish_2.*the manifest's own folder") as caught:
        load_manifest(path)
    assert "SUPERRES_DATA=/folder" in str(caught.value)
    assert "--set data_root=/folder" in str(caught.value)
    with pytest.raises(MissingFileError, match=r"a\.tif: no such file \(and 3 other files\).*the setting data_root"):
        load_manifest(path, tmp_path / "elsewhere")
    monkeypatch.setenv("SUPERRES_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingFileError, match="nowhere, from the environment variable SUPERRES_DATA"):
        load_manifest(path)
    write(path, content(tmp_path) | {"root": "lab"})
    with pytest.raises(MissingFileError, match="lab, from 'root: lab' in the manifest; correct 'root' there"):
        load_manifest(path)


def test_parsing_needs_no_files(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.yaml", content(tmp_path / "gone"))
    assert [item.id for item in parse_manifest(path).acquisitions] == ["dish_1", "dish_2"]


def test_other_sha256_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.yaml", content(tmp_path))
    (tmp_path / "d.tif").write_text("another version")
    expected, found = (hashlib.sha256(text).hexdigest() for text in (b"d.tif", b"another version"))
    with pytest.raises(InputError, match=rf"d\.tif: SHA-256 is {found}, expected {expected} \(dish_2"):
        load_manifest(path)


def test_sha256_in_capitals_is_the_same(tmp_path: Path) -> None:
    values = content(tmp_path)
    entry = values["acquisitions"][0]["high"][0]
    entry["sha256"] = entry["sha256"].upper()
    load_manifest(write(tmp_path / "cells.yaml", values))


def test_repeated_id_is_refused(tmp_path: Path) -> None:
    values = content(tmp_path)
    values["acquisitions"][1]["id"] = "dish_1"
    with pytest.raises(InputError, match="more than one acquisition is called dish_1"):
        load_manifest(write(tmp_path / "cells.yaml", values))


def test_same_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    values = content(tmp_path)
    values["acquisitions"][1]["high"] = [values["acquisitions"][0]["high"][0] | {"file": "./a.tif"}]
    with pytest.raises(
        InputError, match=r"the same file in two splits: .*a\.tif \(train, dish_1.*a\.tif \(val, dish_2"
    ):
        load_manifest(write(tmp_path / "cells.yaml", values))


def test_same_bytes_under_another_name_are_refused(tmp_path: Path) -> None:
    values = content(tmp_path)
    (tmp_path / "copy.tif").write_text("a.tif")
    values["acquisitions"][1]["low"] = [values["acquisitions"][0]["high"][0] | {"file": "copy.tif"}]
    with pytest.raises(InputError, match=r"same SHA-256 in two splits: .*a\.tif .*copy\.tif .*remove one"):
        load_manifest(write(tmp_path / "cells.yaml", values))


def test_two_manifests_together_are_checked(tmp_path: Path) -> None:
    values = content(tmp_path)
    both = [write(tmp_path / "cells.yaml", values)]
    swapped = content(tmp_path)
    swapped["acquisitions"][0]["split"] = "test"
    both.append(write(tmp_path / "again.yaml", swapped))
    for path in both:
        load_manifest(path)
    with pytest.raises(
        InputError, match=r"two splits: .*\(train, dish_1 in .*cells\.yaml\).*\(test, dish_1 in .*again"
    ):
        load_manifests(both)
