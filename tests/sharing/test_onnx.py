"""ONNX files: ONNX Runtime predicts what superres does, at any size on the stride and at no other."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superres.errors import InputError, ModelFileError, OutputExistsError, SuperresError
from superres.modelfile import load_model_file
from superres.nets import net_from_model_file
from superres.sharing import onnx
from superres.sharing.bioimageio_export import Exported
from superres.sharing.onnx import OPSET, export_onnx

WriteNet = Callable[..., Path]


@pytest.fixture(scope="session")
def model(described_net: WriteNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return described_net(tmp_path_factory.mktemp("model") / "em-x2.safetensors", interval=True)


@pytest.fixture(scope="session")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"ONNX files need {name}: pip install 'superres[share]'")
    return export_onnx(model, tmp_path_factory.mktemp("onnx") / "em-x2.onnx")


@pytest.fixture(scope="session")
def session(exported: Exported) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("batch", "y", "x"), [(1, 2, 2), (2, 30, 44), (5, 64, 18)])
def test_runtime_predicts_what_the_net_does(session: Any, model: Path, batch: int, y: int, x: int) -> None:
    low = torch.rand(batch, 1, y, x, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = net_from_model_file(load_model_file(model))(low).numpy()
    (found,) = session.run(None, {"low": low.numpy()})
    assert found.shape == (batch, 1, 2 * y, 2 * x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_size_off_the_stride_is_an_error_and_no_image(session: Any) -> None:
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, {"low": np.zeros((1, 1, 31, 32), np.float32)})


def test_file_says_what_it_is(exported: Exported, model: Path) -> None:
    import onnx as format_of

    content = format_of.load(exported.path)
    assert [(one.domain, one.version) for one in content.opset_import if one.domain == ""] == [("", OPSET)]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*content.graph.input, *content.graph.output)
    ]
    assert shapes == [["batch", 1, "y", "x"], ["batch", 1, "2*y", "2*x"]]
    told = {entry.key: entry.value for entry in content.metadata_props}
    header = load_model_file(model).header
    ours = json.loads(told["superres"])
    assert ours["identity"] == load_model_file(model).identity
    assert tuple(ours["receptive_radius"]) == header.receptive_radius
    assert ours["training"][0]["credit"] == "A. Person 2021, doi:10.1234/abc.5"
    assert told["licence"] == "CC BY 4.0"
    assert "guard and trust maps are not in it" in told["how_to_run"]
    assert exported.difference <= 1e-4
    assert exported.block_difference is None
    assert [path.name for path in exported.path.parent.iterdir()] == ["em-x2.onnx"]


def not_exported(model: Path, tmp_path: Path, error: type[SuperresError], out: str = "m.onnx") -> str:
    folder = tmp_path / "exports"
    folder.mkdir(exist_ok=True)
    with pytest.raises(error) as caught:
        export_onnx(model, folder / out)
    assert not list(folder.iterdir())
    return str(caught.value)


def test_what_may_not_be_passed_on_is_not_exported(net_file: WriteNet, described_net: WriteNet, tmp_path: Path) -> None:
    assert "it has no card" in not_exported(net_file(tmp_path / "a.safetensors"), tmp_path, ModelFileError)
    model = described_net(tmp_path / "b.safetensors", licence="CC BY-NC 4.0")
    assert "CC BY-NC 4.0" in not_exported(model, tmp_path, ModelFileError)


def test_what_would_fail_at_the_end_is_said_first(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ends with .onnx" in not_exported(model, tmp_path, InputError, "m.zip")
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        export_onnx(model, tmp_path / "m.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'superres[share]'" in not_exported(model, tmp_path, SuperresError)


def test_a_file_that_predicts_something_else_is_not_given_out(
    exported: Exported, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(net: torch.nn.Module, *others: Any) -> None:
        others[-1].write_bytes(exported.path.read_bytes())
        with torch.no_grad():
            net.tail.bias[0].add_(0.1)  # type: ignore[operator,union-attr,index]

    monkeypatch.setattr(onnx, "_write", other)
    assert "predicts something else" in not_exported(model, tmp_path, ModelFileError)
