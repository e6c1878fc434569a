"""Packages of bioimage.io: bioimageio.core predicts what superres does, and models come back as they were."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.data import camera

from superres.errors import InputError, MissingFileError, ModelFileError, OutputExistsError, SuperresError
from superres.inference import Predictor
from superres.modelfile import load_model_file, read_model_header, save_model_file
from superres.nets import Architecture, UNet, net_from_model_file
from superres.sharing import bioimageio_export
from superres.sharing.bioimageio_export import MODEL, export_bioimageio
from superres.sharing.bioimageio_import import import_bioimageio
from superres.sharing.bioimageio_net import BLACK, WHITE, example_image, traced, usual_warnings, whole_net
from superres.sharing.bioimageio_source import CALLABLE, net_source
from superres.sharing.completeness import missing

WriteNet = Callable[..., Path]

KINDS: dict[str, dict[str, Any]] = {
    "planes": {"factor": (1, 4, 4), "interval": True},
    "restoration": {"factor": (1, 1, 1), "consistency_sigma": 0.0},
    "frames": {"frames": 3, "target": 1},
    "channels": {"channels": 2, "factor": (1, 3, 2)},
    "high grid": {"grid": "high"},
    "batch norm": {"norm": "batch"},
    "volumes": {"factor": (2, 2, 2), "dimensions": 3},
}


@pytest.fixture(scope="session")
def core() -> Any:
    return pytest.importorskip(
        "bioimageio.core",
        reason="packages of the bioimage.io format need bioimageio.core: pip install 'superres[share]'",
    )


@pytest.fixture(scope="session")
def model(described_net: WriteNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return described_net(tmp_path_factory.mktemp("model") / "em-x2.safetensors")


@pytest.fixture(scope="session")
def exported(core: Any, model: Path, tmp_path_factory: pytest.TempPathFactory) -> bioimageio_export.Exported:
    return export_bioimageio(model, tmp_path_factory.mktemp("package") / "em-x2.zip", authors=["Ada Lovelace"])


@pytest.fixture(scope="session")
def package(exported: bioimageio_export.Exported) -> Path:
    return exported.path


def description_of(package: Path) -> dict[str, Any]:
    with zipfile.ZipFile(package) as file:
        content: dict[str, Any] = yaml.safe_load(file.read("rdf.yaml"))
    return content


# --- the same result -------------------------------------------------------------------------------------------------


def test_export_tells_what_it_measured(exported: bioimageio_export.Exported) -> None:
    assert exported.difference <= 1e-4
    assert exported.block_difference is not None
    assert exported.block_difference <= 1e-4
    assert exported.tested.startswith("bioimageio.core ")
    assert exported.size == exported.path.stat().st_size
    assert [path.name for path in exported.path.parent.iterdir()] == ["em-x2.zip"]


@pytest.fixture(scope="session")
def recording() -> NDArray[np.float32]:
    """A noisy photograph, 12 bit, whose darkest and brightest voxels are noise."""
    photo = camera()[100:220, 150:246].astype(np.float32)
    return np.round(200 + 12 * photo + np.random.default_rng(0).normal(0, 60, photo.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    """superres, with black and white as the format measures them: of single voxels and not of averages."""
    file = load_model_file(model)
    header = dataclasses.replace(file.header, intensity=dict(file.header.intensity) | {"average": 1})
    return Predictor(net_from_model_file(file), header, file.identity, torch.device("cpu"))


def run(core: Any, package: Path, image: NDArray[np.float32], weights: str, block: int = 0) -> NDArray[np.float32]:
    with usual_warnings():
        return run_core(core, core.load_model_description(package), image, weights, block)


def run_core(core: Any, described: Any, image: NDArray[np.float32], weights: str, block: int) -> NDArray[np.float32]:
    (low,), (high,) = described.inputs, described.outputs

    def sample() -> Any:
        tensor = core.tensor.Tensor.from_numpy(image[None, None].copy(), dims=[axis.id for axis in low.axes])
        return core.sample.Sample(members={low.id: tensor}, stat={}, id="recording")

    with core.create_prediction_pipeline(
        described, devices=["cpu"], weights_format=weights, dataset_for_initial_statistics=[sample()]
    ) as pipeline:
        if block:
            shape = {low.id: dict(zip([axis.id for axis in low.axes], (1, 1, block, block), strict=True))}
            found = pipeline.predict_sample_with_fixed_blocking(sample(), shape)
        else:
            found = pipeline.predict_sample_without_blocking(sample())
    return np.asarray(found.members[high.id].to_numpy(), np.float32)[0, 0]


def test_core_predicts_what_superres_does_whole_and_in_blocks(
    core: Any, package: Path, predictor: Predictor, recording: NDArray[np.float32]
) -> None:
    black, white = np.percentile(recording, [0.5, 99.9])
    expected = (predictor.restore(recording[None, None], guarded=False)[0, 0] - black) / (white - black)
    whole = {weights: run(core, package, recording, weights) for weights in ("pytorch_state_dict", "torchscript")}
    for found in whole.values():
        assert found.shape == (240, 192)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    least = description_of(package)["inputs"][0]["axes"][2]["size"]["min"]
    for block in (least, least + 14):
        blocks = run(core, package, recording, "pytorch_state_dict", block)
        np.testing.assert_allclose(blocks, whole["pytorch_state_dict"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["planes", "frames", "high grid", "volumes"])
def test_torchscript_is_the_net_at_every_size(kind: str, net_file: WriteNet, tmp_path: Path) -> None:
    file = load_model_file(net_file(tmp_path / "m.safetensors", **KINDS[kind]))
    net, reference = whole_net(file), net_from_model_file(file)
    low = torch.from_numpy(example_image(file.header))[None][..., :20, :16]
    low = low[:, :, :8] if low.ndim == 5 else low
    script = load_script(traced(net, low))
    with torch.inference_mode():
        for batch, sizes in ((1, (4, 6, 8)), (2, (2, 10, 4))):
            part = low[(slice(None), slice(None), *(slice(n) for n in sizes[-(low.ndim - 2) :]))].repeat(
                batch, *([1] * (low.ndim - 1))
            )
            expected = reference(part)
            assert torch.equal(script(part), expected)
            assert torch.equal(net(part), expected)


def load_script(content: bytes) -> Any:
    with usual_warnings():
        return torch.jit.load(io.BytesIO(content))


# --- the source of the net -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The source that goes with a package, imported from where nothing of superres is."""
    path = tmp_path_factory.mktemp("source") / "superres_net_alone.py"
    path.write_text(net_source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("superres_net_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_alone_is_the_net(kind: str, alone: Any, net_file: WriteNet, tmp_path: Path) -> None:
    file = load_model_file(net_file(tmp_path / "m.safetensors", **KINDS[kind]))
    net = getattr(alone, CALLABLE)(**file.header.architecture)
    assert not isinstance(net, UNet)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in file.weights.items()})
    low = torch.from_numpy(example_image(file.header))[None][..., :12, :8]
    low = low[:, :, :4] if low.ndim == 5 else low
    with torch.inference_mode():
        assert torch.equal(net(low), net_from_model_file(file)(low))


def test_the_source_needs_torch_alone() -> None:
    tree = ast.parse(net_source())
    origins = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    origins |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).partition(".")[0] for name in origins} == {
        "__future__", "collections", "dataclasses", "itertools", "math", "torch", "typing",
    }  # fmt: skip
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))


# --- the description -------------------------------------------------------------------------------------------------


def test_description_says_how_to_cut_and_to_scale(package: Path, model: Path) -> None:
    header = read_model_header(model)
    described = description_of(package)
    (low,), (high,) = described["inputs"], described["outputs"]
    assert low["pad"] == {"mode": "reflect"}
    sizes = zip("yx", header.receptive_radius[1:], header.stride[1:], (0.04, 0.03), strict=True)
    for axis, radius, step, size in sizes:
        (taken,) = (one for one in low["axes"] if one.get("id") == axis)
        (made,) = (one for one in high["axes"] if one.get("id") == axis)
        assert made["halo"] == 2 * radius
        assert made["size"] == {"tensor_id": "low", "axis_id": axis}
        assert taken["size"]["step"] == step
        assert taken["size"]["min"] > 2 * radius
        assert taken["concatenable"]
        assert taken["unit"] == made["unit"] == "micrometer"
        assert taken["scale"] == pytest.approx(size, rel=1e-6)
        assert taken["scale"] == 2 * made["scale"]
    (scaling,) = (step["kwargs"] for step in low["preprocessing"] if step["id"] == "scale_range")
    assert scaling["axes"] == ["batch", "channel", "y", "x"]
    assert (scaling["min_percentile"], scaling["max_percentile"]) == (0.5, 99.9)
    assert described["license"] == "CC-BY-4.0"
    assert described["cite"] == [{"text": "A. Person 2021, doi:10.1234/abc.5", "doi": "10.1234/abc.5"}]
    assert described["authors"] == [{"name": "Ada Lovelace"}]


def test_page_says_what_the_bare_net_lacks(package: Path) -> None:
    described = description_of(package)
    assert "guard and trust maps are not in it" in described["description"]
    with zipfile.ZipFile(package) as file:
        page, names = file.read("README.md").decode(), file.namelist()
    for words in (
        "None of that is in this package", "percentiles 0.5 and 99.9", "4 x 4 voxels", "multiples of Y 2, X 2",
        "A. Person 2021", "CC BY 4.0", "superres models import", "## Validation",
    ):  # fmt: skip
        assert words in page
    assert "![a fold](fold.png)" in page
    assert "fold.png" in names


@pytest.mark.parametrize("kind", ["frames", "channels", "volumes"])
def test_description_of_other_nets(core: Any, kind: str, net_file: WriteNet, tmp_path: Path) -> None:
    from superres.sharing.bioimageio_axes import input_description, output_description

    header = read_model_header(net_file(tmp_path / "m.safetensors", **KINDS[kind]))
    (tmp_path / "t.npy").write_bytes(b"")
    with usual_warnings():
        tensor = importlib.import_module("bioimageio.spec.common").FileDescr(source=tmp_path / "t.npy")
        low, high = input_description(header, tensor), output_description(header, tensor)
    axes = [str(axis.id) for axis in low.axes]
    scaling = next(step.kwargs for step in low.preprocessing if step.id == "scale_range")
    expected = {
        "frames": (["z-1", "z", "z+1"], ["channel0"], ["batch", "channel", "y", "x"]),
        "channels": (["channel0", "channel1"], ["channel0", "channel1"], ["batch", "y", "x"]),
        "volumes": (["channel0"], ["channel0"], ["batch", "channel", "z", "y", "x"]),
    }[kind]
    assert (low.axes[1].channel_names, high.axes[1].channel_names, list(scaling.axes)) == expected
    assert axes == ["batch", "channel", *(["z"] if kind == "volumes" else []), "y", "x"]
    halos = [axis.halo for axis in high.axes[2:]]
    dims = len(halos)
    assert halos == [r * f for r, f in zip(header.receptive_radius[-dims:], header.factor[-dims:], strict=True)]


@settings(max_examples=60)
@given(size=st.floats(1e-4, 1e3), factor=st.integers(1, 16), step=st.sampled_from([1, 2, 4, 8]), n=st.integers(1, 4096))
def test_voxel_sizes_give_whole_numbers_of_voxels(core: Any, size: float, factor: int, step: int, n: int) -> None:
    from superres.sharing.bioimageio_axes import exact_sizes

    low, high = exact_sizes(size, factor, step)
    assert int(n * step * low / high) == n * step * factor  # as readers compute it
    assert n * step * factor * high / low == n * step
    assert low == pytest.approx(size, rel=1e-6)


# --- back again ------------------------------------------------------------------------------------------------------


def test_what_was_exported_comes_back_bit_for_bit(package: Path, model: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(package) as file:
        file.extractall(unpacked)
    for number, source in enumerate((package, unpacked)):
        out = tmp_path / f"back{number}.safetensors"
        file = import_bioimageio(source, out)
        assert out.read_bytes() == model.read_bytes()
        assert file.identity == load_model_file(model).identity
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "back0.safetensors", "back1.safetensors", "em-x2.pictures", "unpacked",
    ]  # fmt: skip
    assert not missing(file)  # it can be passed on again


class Trap:
    """A pickle that leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def refused(package: Path, tmp_path: Path) -> str:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    with pytest.raises((ModelFileError, InputError)) as caught:
        import_bioimageio(package, out / "m.safetensors")
    assert not list(out.iterdir())
    assert str(package) in str(caught.value)
    return str(caught.value)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def test_nothing_is_unpickled(model: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps(Trap(trace))
    renamed = tmp_path / "m.zip"
    renamed.write_bytes(content)
    assert "not a readable .zip" in refused(renamed, tmp_path)
    torch.save(load_model_file(model).weights, renamed)
    assert "there is no rdf.yaml in it" in refused(renamed, tmp_path)
    ours = {"model": MODEL, "sha256": hashlib.sha256(content).hexdigest()}
    described = yaml.safe_dump({"type": "model", "config": {"superres": ours}}).encode()
    assert "not a readable .safetensors file" in refused(
        zipped(renamed, {"rdf.yaml": described, MODEL: content, "weights.pt": content}), tmp_path
    )
    tagged = b"type: model\nconfig: !!python/object/apply:pathlib.Path.touch [x]\n"
    assert "rdf.yaml is damaged" in refused(zipped(renamed, {"rdf.yaml": tagged}), tmp_path)
    assert not trace.exists()


def test_a_foreign_model_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    described = {
        "type": "model",
        "weights": {
            "pytorch_state_dict": {"architecture": {"callable": "UNet2d", "source": "unet.py"}},
            "torchscript": {"source": "weights.pt"},
        },
        "config": {"deepimagej": {}},
    }
    message = refused(zipped(tmp_path / "p.zip", {"rdf.yaml": yaml.safe_dump(described).encode()}), tmp_path)
    for words in ("pytorch_state_dict and torchscript weights of UNet2d", "config.superres", "bioimageio predict"):
        assert words in message


@pytest.mark.parametrize("name", ["../m.safetensors", "/etc/passwd", "a/b.safetensors", ""])
def test_only_a_file_of_the_package_is_read(name: str, tmp_path: Path) -> None:
    described = {"type": "model", "config": {"superres": {"model": name, "sha256": "0" * 64}}}
    files = {"rdf.yaml": yaml.safe_dump(described).encode()} | ({name: b"x"} if name else {})
    assert "no model file of superres" in refused(zipped(tmp_path / "p.zip", files), tmp_path)


def test_a_model_file_that_was_changed_is_refused(package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(package) as file:
        files = {name: file.read(name) for name in ("rdf.yaml", MODEL)}
    assert "another SHA-256" in refused(zipped(tmp_path / "p.zip", files | {MODEL: files[MODEL] + b"\0"}), tmp_path)
    del files[MODEL]
    assert f"names {MODEL}, which is not in it" in refused(zipped(tmp_path / "p.zip", files), tmp_path)


@settings(max_examples=15)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_package_is_refused(share: float, package: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    content = package.read_bytes()
    (folder / "p.zip").write_bytes(content[: int(share * len(content))])
    refused(folder / "p.zip", folder)


@settings(max_examples=15)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_damaged_package_is_refused_or_gives_the_same_model(
    place: float, package: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(package.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    (folder / "p.zip").write_bytes(content)
    try:
        import_bioimageio(folder / "p.zip", folder / "m.safetensors")
    except (ModelFileError, InputError):
        assert not (folder / "m.safetensors").exists()
    else:
        assert (folder / "m.safetensors").read_bytes() == model.read_bytes()


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        import_bioimageio(tmp_path / "p.zip", tmp_path / "m.safetensors")


# --- what is not exported --------------------------------------------------------------------------------------------


def not_exported(model: Path, tmp_path: Path, error: type[SuperresError], out: str = "out.zip", **how: Any) -> str:
    folder = tmp_path / "exports"
    folder.mkdir(exist_ok=True)
    with pytest.raises(error) as caught:
        export_bioimageio(model, folder / out, **({"authors": ["Ada Lovelace"]} | how))
    assert not list(folder.iterdir())
    return str(caught.value)


def test_a_model_without_a_card_is_not_exported(net_file: WriteNet, tmp_path: Path) -> None:
    model = net_file(tmp_path / "m.safetensors")
    assert "it has no card" in not_exported(model, tmp_path, ModelFileError)


def test_a_card_of_other_weights_is_noticed(model: Path, tmp_path: Path) -> None:
    file = load_model_file(model)
    other = tmp_path / "m.safetensors"
    save_model_file(other, file.header, {name: value + 1 for name, value in file.weights.items()})
    assert "speaks of other weights" in not_exported(other, tmp_path, ModelFileError)


@pytest.mark.parametrize("licence", ["CC BY-NC-SA 4.0", "GPL-3.0 (repo LICENSE)", "ask the authors"])
def test_a_licence_that_forbids_is_named(licence: str, described_net: WriteNet, tmp_path: Path) -> None:
    model = described_net(tmp_path / "m.safetensors", licence=licence)
    message = not_exported(model, tmp_path, ModelFileError)
    assert licence in message
    assert "cannot be passed on" in message


def test_a_net_whose_output_depends_on_blocks_is_not_exported(
    core: Any, described_net: WriteNet, tmp_path: Path
) -> None:
    model = described_net(tmp_path / "m.safetensors", attention=True)
    assert "attends to all of a tile" in not_exported(model, tmp_path, ModelFileError)


def test_what_would_fail_at_the_end_is_said_first(core: Any, model: Path, tmp_path: Path) -> None:
    assert "--author" in not_exported(model, tmp_path, InputError, authors=[])
    assert "ends with .zip" in not_exported(model, tmp_path, InputError, out="out")
    assert "its folder does not exist" in not_exported(model, tmp_path, SuperresError, out="no/out.zip")
    (tmp_path / "out.zip").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="delete it"):
        export_bioimageio(model, tmp_path / "out.zip", authors=["Ada Lovelace"])
    assert (tmp_path / "out.zip").read_bytes() == b"mine"


def test_a_missing_extra_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'superres[share]'" in not_exported(model, tmp_path, SuperresError)


def test_a_licence_without_an_identifier_is_refused(core: Any) -> None:
    from superres.sharing.bioimageio_package import spdx

    assert [spdx(text, "m") for text in ("CC BY 4.0", "CC0", "MIT", "BSD-3-Clause")] == [
        "CC-BY-4.0", "CC0-1.0", "MIT", "BSD-3-Clause",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no SPDX identifier"):
        spdx("as you like", "m")


@pytest.mark.long
def test_a_package_that_predicts_something_else_is_not_given_out(
    core: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superres.sharing import bioimageio_package

    def other(net: Any, example: torch.Tensor) -> bytes:
        with torch.no_grad():
            net.tail.bias[0].add_(0.1)  # of one sub-voxel: the mean would be taken back
        return traced(net, example)

    monkeypatch.setattr(bioimageio_package, "traced", other)
    message = not_exported(model, tmp_path, ModelFileError)
    assert "fails the test of bioimageio.core" in message
    assert "torchscript" in message


def test_example_image_has_one_black_and_white_by_any_rule(net_file: WriteNet, tmp_path: Path) -> None:
    for kind in KINDS.values():
        file = load_model_file(net_file(tmp_path / "m.safetensors", **kind))
        low = example_image(file.header)
        radius = file.header.receptive_radius[-(low.ndim - 1) :]
        mirrored = np.pad(low, [(0, 0), *((r, r) for r in radius)], mode="reflect")
        blocks = low[..., : low.shape[-2] // 4 * 4, : low.shape[-1] // 4 * 4]
        averages = blocks.reshape(*blocks.shape[:-2], blocks.shape[-2] // 4, 4, -1, 4).mean(axis=(-3, -1))
        for values in (low, mirrored, averages):
            assert np.percentile(values, [0.5, 99.9]).tolist() == [BLACK, WHITE]
        assert Architecture.from_json(file.header.architecture).inputs == len(low)
