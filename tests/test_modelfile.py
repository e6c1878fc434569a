"""The model file: what is saved is what is read, by us and by safetensors alone; nothing else is taken for a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from superres.errors import MissingFileError, ModelFileError, SuperresError
from superres.modelfile import FORMAT, ModelHeader, load_model_file, read_model_header, save_model_file

HEADER = ModelHeader(
    name="tiny",
    architecture={"factor": [1, 4, 4], "widths": [8, 16]},
    factor=(1, 4, 4),
    channels=1,
    receptive_radius=(0, 24, 24),
    stride=(1, 4, 4),
    intensity={"percentiles": [0.5, 99.9], "average": 4},
    voxel_size=(None, 0.1, 0.1),
    degradation=[{"downsample": "binning"}, {"poisson": {"photons": [50.0, 200.0]}}],
    training={"manifests": [{"name": "em", "sha256": "0" * 64}], "steps": 3, "seconds": 1.5},
    metrics={"psnr": 30.5, "psnr_bicubic": 28.0},
    lineage=[{"name": "parent"}],
    version="0.1.0",
)
WEIGHTS = {"first": np.arange(6, dtype=np.float32).reshape(2, 3), "second.bias": np.zeros(4, np.float16)}

sizes = st.integers(1, 16)
triples = st.tuples(sizes, sizes, sizes)
lengths = st.none() | st.floats(1e-6, 1e3)
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=3)
headers = st.builds(
    ModelHeader,
    name=st.text(),
    architecture=json_objects,
    factor=triples,
    channels=sizes,
    receptive_radius=triples,
    stride=triples,
    intensity=json_objects,
    voxel_size=st.tuples(lengths, lengths, lengths),
    degradation=st.lists(json_objects, max_size=2),
    training=json_objects,
    metrics=json_objects,
    lineage=st.lists(json_objects, max_size=2),
    version=st.text(),
)
tensors = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int64, np.uint8]), hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)
)
all_weights = st.dictionaries(st.from_regex(r"\A[a-z0-9._]{1,12}\Z"), tensors, max_size=3)


@settings(max_examples=40)
@given(header=headers, weights=all_weights)
def test_round_trip(header: ModelHeader, weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model_file(path, header, weights)
    model = load_model_file(path)
    assert model.header == header == read_model_header(path)
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.path == path
    assert model.weights.keys() == weights.keys()
    for name, value in weights.items():
        assert model.weights[name].dtype == value.dtype
        np.testing.assert_array_equal(model.weights[name], value)


def saved(folder: Path, name: str = "m.safetensors") -> Path:
    path = folder / name
    save_model_file(path, HEADER, WEIGHTS)
    return path


def test_safetensors_alone_reads_the_weights(tmp_path: Path) -> None:
    found = load_file(saved(tmp_path))
    assert found.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], value)


def test_weights_need_not_be_contiguous(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    turned = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    save_model_file(path, HEADER, {"turned": turned})
    np.testing.assert_array_equal(load_model_file(path).weights["turned"], turned)


def test_a_run_folder_stands_for_its_model(tmp_path: Path) -> None:
    path = saved(tmp_path, "model.safetensors")
    assert read_model_header(tmp_path) == HEADER
    assert load_model_file(tmp_path).path == path


def test_saving_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = saved(tmp_path)
    save_model_file(path, dataclasses.replace(HEADER, name="newer"), {})
    assert read_model_header(path).name == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_failed_save_keeps_the_old_model(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_model_file(path, dataclasses.replace(HEADER, metrics={"psnr": object()}), WEIGHTS)
    assert path.read_bytes() == before


def fault(path: Path) -> str:
    messages = []
    for read in (read_model_header, load_model_file):
        with pytest.raises(ModelFileError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{path}: ")
    return messages[0]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_missing_model_says_what_to_give(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "run"
    if is_folder:
        path.mkdir()
    with pytest.raises(MissingFileError, match=r"give the path of a \.safetensors file or of a run folder"):
        read_model_header(path)
    with pytest.raises(MissingFileError):
        load_model_file(path)


@pytest.mark.parametrize("content", [b"", b"short", b"\x08\0\0\0\0\0\0\0not json", pickle.dumps({"a": 1}) * 20])
def test_other_files_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert "expected a model written by 'superres train'" in fault(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_model_is_refused(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = saved(tmp_path_factory.mktemp("model"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "not a readable .safetensors file" in fault(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_of_other_programs_are_no_models(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, path, metadata=metadata)
    assert f"expected {FORMAT!r}" in fault(path)


def test_a_model_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = dataclasses.asdict(HEADER) | {"hologram": 3, "version": "9.0"}
    save_file(WEIGHTS, path, metadata={"superres": json.dumps({"format": FORMAT, "header": header})})
    message = fault(path)
    assert "written by superres 9.0" in message
    assert "(hologram); update superres" in message


def test_faults_are_errors_that_a_user_can_act_on() -> None:
    assert issubclass(ModelFileError, SuperresError)
    assert issubclass(ModelFileError, ValueError)
    assert issubclass(MissingFileError, FileNotFoundError)


CHANGES: dict[str, Any] = {
    "architecture": {"factor": [1, 4, 4], "widths": [8, 17]},
    "factor": (1, 2, 2),
    "channels": 2,
    "receptive_radius": (0, 28, 28),
    "stride": (1, 8, 8),
    "intensity": {"percentiles": [0.5, 99.8], "average": 4},
    "degradation": [{"downsample": "binning"}],
    "domain": {"level": [0.0, 1.0]},
    "context": {"axis": "z", "frames": 3, "target": 1},
}
ASIDE: dict[str, Any] = {
    "name": "other",
    "voxel_size": (1.0, 1.0, 1.0),
    "training": {},
    "display": True,
    "metrics": {},
    "calibration": {"factor": 2.0},
    "lineage": [],
    "card": {"purpose": "cells"},
    "version": "9",
}


def test_identity_is_that_of_what_decides_the_output(tmp_path: Path) -> None:
    """Every field of the header is on one list or the other."""
    assert CHANGES.keys() | ASIDE.keys() == {item.name for item in dataclasses.fields(ModelHeader)}

    def identity(weights: dict[str, Any], **changes: Any) -> str:
        save_model_file(tmp_path / "m.safetensors", dataclasses.replace(HEADER, **changes), weights)
        return load_model_file(tmp_path / "m.safetensors").identity

    same = {identity(WEIGHTS), *(identity(WEIGHTS, **{name: value}) for name, value in ASIDE.items())}
    assert len(same) == 1
    others = {identity(WEIGHTS, **{name: value}) for name, value in CHANGES.items()}
    first, second = WEIGHTS.values()
    moved = np.nextafter(first, np.float32(9))
    changed = (
        {"first": moved, "second.bias": second},
        {"first": first.reshape(3, 2), "second.bias": second},
        {"first": first, "second.bias": second.astype(np.float32)},
        {"third": first, "second.bias": second},
    )
    others |= {identity(weights) for weights in changed}
    assert len(others | same) == len(CHANGES) + len(changed) + 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_a_model_where_they_may_read_other_files(tmp_path: Path) -> None:
    usual, path = tmp_path / "usual", tmp_path / "m.safetensors"
    usual.touch()
    save_model_file(path, HEADER, {"w": np.zeros(3, np.float32)})
    assert path.stat().st_mode == usual.stat().st_mode
