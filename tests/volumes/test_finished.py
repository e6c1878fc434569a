"""The note of a finished output: true as long as nothing of it, and nothing that it was made from, has changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from superres.modelfile import ModelHeader, save_model_file
from superres.volumes import OutputStore, StoreLayout
from superres.volumes.finished import note_finished, read_finished, settings_digest

LAYOUT = StoreLayout((1, 1, 1, 8, 8), "uint8", (1, 8, 8), (1, 8, 8), fingerprint="f00d")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a finished store with its note."""
    store = OutputStore.open(tmp_path / "a.ome.zarr", LAYOUT)
    for unit in store.units():
        store.write(unit, np.ones((1, 8, 8), np.uint8))
    store.finish()
    (tmp_path / "a.json").write_text("{}")
    note(store.path)
    return store.path


def note(out: Path) -> None:
    parts = [out, out.with_name("a.json"), out.with_name("not there")]
    note_finished(out, parts, source="a.tif", identity="1", settings="2")


def test_a_note_is_read_back(out: Path) -> None:
    found = read_finished(out)
    assert found is not None
    assert (found.source, found.identity, found.settings) == ("a.tif", "1", "2")
    assert sorted(found.parts) == ["a.json", "a.ome.zarr"]


@pytest.mark.parametrize("harm", ["shard", "shard cut", "group", "beside", "note", "note cut", "records"])
def test_a_note_does_not_outlive_what_it_is_about(out: Path, harm: str) -> None:
    shard = out / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    place = out.with_name("a.ome.zarr.records") / "f00d" / "finished.json"
    if harm == "shard":
        shard.unlink()
    elif harm == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif harm == "note cut":
        place.write_text(place.read_text()[:-1])
    elif harm == "records":
        place.parent.rename(place.parent.with_name("other"))
    else:
        {"group": out / "zarr.json", "beside": out.with_name("a.json"), "note": place}[harm].unlink()
    assert read_finished(out) is None


def test_a_store_that_is_replaced_takes_its_note_along(out: Path) -> None:
    other = StoreLayout((1, 1, 1, 8, 8), "uint8", (1, 8, 8), (1, 8, 8), fingerprint="beef")
    OutputStore.open(out, other, overwrite=True)
    assert read_finished(out) is None
    assert not list(out.with_name("a.ome.zarr.records").rglob("finished.json"))


def test_nothing_is_noted_of_what_is_not_finished(tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / "a.ome.zarr", LAYOUT)
    note(store.path)
    assert read_finished(store.path) is None
    assert not list(tmp_path.rglob("finished.json"))


def test_the_digest_changes_with_settings_and_model(tmp_path: Path) -> None:
    header = ModelHeader("a", {}, (1, 2, 2), 1, (0, 8, 8), (1, 4, 4), {})
    for name, value in (("a", 1), ("b", 2)):
        save_model_file(tmp_path / name, header, {"w": np.full(3, value, np.float32)})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes((tmp_path / "a").read_bytes())
    first = settings_digest({"tile": 1, "x": None}, tmp_path / "a")
    assert first == settings_digest(json.loads('{"x": null, "tile": 1}'), tmp_path / "run")
    assert len({first, settings_digest({"tile": 2}, tmp_path / "a"), settings_digest({"tile": 1}, tmp_path / "b")}) == 3
