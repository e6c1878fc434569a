"""Trainings that start from a model: what learns and how fast, from how few images, and what the model file tells."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.data
import torch
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from superres.cli import app
from superres.config import LayerRates, Phase, TrainConfig, dump_config
from superres.datasets.manifest import load_manifest
from superres.errors import Cancelled, ConfigError, MissingFileError, ModelFileError, OutputExistsError
from superres.evaluation.protocol import _trained_on
from superres.modelfile import ModelFile, ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet
from superres.nets.architecture import PRESETS as NETS
from superres.phases import PRESETS
from superres.progress import Progress
from superres.training import train
from superres.training.layers import by_part, learns, part_of
from superres.training.start import refuse_other_kind, take_weights

Make = Callable[..., TrainConfig]
THIN: dict[str, Any] = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1}
WITH_HEAD: dict[str, Any] = {"factor": (1, 2, 2), "channels": 1, "consistency_sigma": 0.0, "interval": True} | THIN
OLD, NEW = "CC BY-NC 4.0", "CC0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two data sets of different licences with four images to learn from each, and a training on the old one."""
    folder = tmp_path_factory.mktemp("fine_tuning")
    image = skimage.data.cell()  # type: ignore[no-untyped-call]
    for number, (name, licence) in enumerate((("old", OLD), ("new", NEW))):
        entries = []
        for place, (split, count) in enumerate((("train", 3), ("train", 1), ("val", 1))):
            files = []
            for index in range(count):
                file = folder / f"{name}_{place}_{index}.png"
                y, x = 64 * (3 * number + place), 64 * index
                imageio.imwrite(file, np.ascontiguousarray(image[100 + y : 164 + y, 100 + x : 164 + x]))
                files.append({"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
            entries.append({"id": f"{name}{place}", "split": split, "grey_range": [0, 255], "high": files})
        told = {"name": name, "description": "parts of one image", "licence": licence, "credit": "nobody"}
        content: dict[str, Any] = told | {"source": "scikit-image", "root": ".", "acquisitions": entries}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETS, "XS", THIN)
        patch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)
        train(recipe(folder), folder / "parent")
        yield folder


def recipe(folder: Path, **changes: object) -> TrainConfig:
    content: dict[str, object] = {
        "name": "old",
        "manifests": [folder / "old.yaml"],
        "factor": [1, 2, 2],
        "device": "cpu",
        "model": {"preset": "XS", "consistency_sigma": 0.5},
        "degrade": [{"downsample": "binning"}, {"read_noise": {"sd": 0.03}}],
        "patch": {"size": 16, "batch": 2},
        "preset": "quantitative",
        "steps": 4,
        "checkpoint_every": 1,
    }
    return TrainConfig.model_validate(content | changes)


@pytest.fixture
def make(folder: Path) -> Make:
    """A recipe for a small net."""
    return functools.partial(recipe, folder)


@pytest.fixture
def parent(folder: Path, tmp_path: Path) -> Path:
    """The run of a finished training on the old data set, which a test may change."""
    return Path(shutil.copytree(folder / "parent", tmp_path / "parent"))


def weights_of(run: Path) -> dict[str, np.ndarray[Any, Any]]:
    return dict(load_model_file(run).weights)


# --- what learns, and how fast ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"dimensions": 3}, {"norm": "batch"}, {"norm": "weight"}, {"attention": True, "frames": 3}]
)
def test_every_weight_has_a_part_and_the_head_touches_input_and_output(changes: dict[str, Any]) -> None:
    net = UNet(
        Architecture(**{"factor": (1, 2, 2), "channels": 1, "consistency_sigma": 0, "interval": True} | THIN | changes)
    )
    parts = {name: part_of(name) for name, _ in net.named_parameters()}
    assert set(parts.values()) == {"head", "encoder", "middle", "decoder"} == set(LayerRates.model_fields)
    assert {name.partition(".")[0] for name, part in parts.items() if part == "head"} == {
        "stem",
        "tail",
        "interval_head",
    }
    late = {name for name in parts if learns(name, Phase(name="c", share=1, trains="critic"))}
    assert {name.partition(".")[0] for name in late} == {"up", "decoder", "tail", "interval_head"}


def test_a_first_step_of_adam_is_as_long_as_the_rate_of_the_part() -> None:
    """Its length is the learning rate, whatever the gradient (Kingma & Ba 2015, arXiv 1412.6980)."""
    net = UNet(Architecture(**WITH_HEAD))
    rates = LayerRates(head=0.5, decoder=0.3, middle=0.2, encoder=0.1)
    groups = by_part([{"params": list(net.parameters())}], net, rates)
    optimiser = torch.optim.AdamW([group | {"lr": 1e-2 * group["factor"]} for group in groups], weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for value in net.parameters():
        value.grad = torch.full_like(value, -3.0)
    optimiser.step()
    for name, value in net.named_parameters():
        expected = torch.full_like(value, 1e-2 * getattr(rates, part_of(name)))
        torch.testing.assert_close((value - before[name]).detach().abs(), expected, rtol=1e-3, atol=1e-7)


def test_all_rates_alike_are_as_no_rates(make: Make, parent: Path, tmp_path: Path) -> None:
    rows = [{"name": "all", "share": 1}]
    alike = dict.fromkeys(LayerRates.model_fields, 1.0)
    config = make(start_from=parent, phases=rows, preset=None, layer_rates=alike)
    runs = {"alike": config, "none": config.model_copy(update={"layer_rates": None})}
    found = [weights_of(train(one, tmp_path / name).run) for name, one in runs.items()]
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)


def test_only_the_head_learns_in_a_head_phase(make: Make, parent: Path, tmp_path: Path) -> None:
    rows = [{"name": "head", "share": 1, "layers": "head"}]
    child = weights_of(train(make(start_from=parent, phases=rows, preset=None), tmp_path / "child").run)
    changed = {part_of(name) for name, value in weights_of(parent).items() if not np.array_equal(child[name], value)}
    assert changed == {"head"}


def test_the_body_learns_after_the_head_and_less(make: Make, parent: Path, tmp_path: Path) -> None:
    config = make(start_from=parent, steps=20, optimiser={"kind": "adamw"}, layer_rates={})
    child = weights_of(train(config, tmp_path / "child").run)
    moved: dict[str, list[float]] = {}
    for name, value in weights_of(parent).items():
        moved.setdefault(part_of(name), []).append(float(np.abs(child[name] - value).max()))
    largest = {part: max(values) for part, values in moved.items()}
    assert 0 < largest["encoder"] < largest["decoder"] < largest["head"]


def test_next_to_no_rate_leaves_the_model_as_it_is(make: Make, parent: Path, tmp_path: Path) -> None:
    still = {"learning_rate": 1e-12, "weight_decay": 0, "muon": {"learning_rate": 1e-12}}
    config = make(start_from=parent, seed=7, optimiser=still)
    child = weights_of(train(config, tmp_path / "child").run)
    for name, value in weights_of(parent).items():
        np.testing.assert_allclose(child[name], value, atol=1e-8, err_msg=name)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_a_preset_begins_with_the_head_and_asks_for_the_same(make: Make, preset: str | None) -> None:
    config = make(start_from="a.safetensors", preset=preset, layer_rates={})
    plain = PRESETS[preset or "quantitative"]
    head, *rows = config.phases
    assert (head.layers, head.share, head.losses) == ("head", 0.1, plain[0].losses)
    assert [(row.name, row.trains, row.layers, row.losses) for row in rows] == [
        (row.name, row.trains, row.layers, row.losses) for row in plain
    ]
    assert sum(row.share for row in config.phases) == pytest.approx(1)
    assert config.layer_rates == LayerRates()
    assert TrainConfig.model_validate(yaml.safe_load(dump_config(config))) == config, "written out, and read back"


def test_from_scratch_nothing_of_it_is_there(make: Make) -> None:
    config = make()
    assert config.phases == PRESETS["quantitative"]
    assert config.layer_rates is None
    assert make(start_from="a", phases=[{"name": "mine", "share": 1}], preset=None).phases[0].name == "mine"


@pytest.mark.parametrize("preset", PRESETS)
def test_from_a_model_all_layers_learn_alike_unless_rates_are_given(make: Make, preset: str) -> None:
    config = make(start_from="a.safetensors", preset=preset)
    assert (config.phases, config.layer_rates) == (PRESETS[preset], None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "runs/old"}, "start_from=runs/old"),
        ({"start_from": "a", "layer_rates": {"body": 1}}, "body"),
        ({"image_count": 0}, "greater than or equal to 1"),
        (
            {"preset": None, "phases": [{"name": "c", "share": 1, "trains": "critic", "layers": "head"}]},
            "belongs to trains: generator",
        ),
    ],
)
def test_wrong_settings_say_what_to_type(make: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


# --- few images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [True, False])
def test_one_image_is_enough(make: Make, folder: Path, parent: Path, tmp_path: Path, start: bool) -> None:
    config = make(manifests=[folder / "new.yaml"], image_count=1, seed=3, start_from=parent if start else None)
    header = load_model_file(train(config, tmp_path / "run").model).header
    (entry,) = header.training["acquisitions"]
    assert entry["id"] in ("new0", "new1")
    if entry["id"] == "new0":
        ((file, digest),) = [image.values() for image in entry["images"]]
        assert digest == hashlib.sha256((folder / file).read_bytes()).hexdigest()
    assert header.metrics["psnr_per_acquisition"].keys() == {"new2"}, "validated on another image"
    assert header.training["config"]["image_count"] == 1


def test_the_images_are_those_of_the_record(make: Make, tmp_path: Path) -> None:
    """Three of four: one of the acquisition of one, two of the acquisition of three, and these by name."""
    config = make(image_count=3, steps=1)
    first, second = load_model_file(train(config, tmp_path / "run").model).header.training["acquisitions"]
    assert len(first["images"]) == 2
    assert {image["file"] for image in first["images"]} < {f"old_0_{index}.png" for index in range(3)}
    assert "images" not in second, "all of it"


def test_too_few_images_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="image_count=5: the manifests list 4 images"):
        train(make(image_count=5), tmp_path / "run")


# --- runs ------------------------------------------------------------------------------------------------------------


def stop_after(step: int) -> Callable[[Progress], None]:
    def callback(event: Progress) -> None:
        if event.stage == "train" and event.note == f"step {step}":
            raise Cancelled(f"stopped at step {step}")

    return callback


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_is_the_same_file_as_uninterrupted(make: Make, parent: Path, tmp_path: Path, stop: int) -> None:
    """Stopped in the head phase, at its end, and after it."""
    rows = [{"name": "head", "share": 0.5, "layers": "head"}, {"name": "all", "share": 0.5}]
    config = make(start_from=parent, phases=rows, preset=None, validate_every=1, image_count=2)
    whole = train(config, tmp_path / "whole").model
    with pytest.raises(Cancelled):
        train(config, tmp_path / "stopped", progress=stop_after(stop))
    assert train(config, tmp_path / "stopped").model.read_bytes() == whole.read_bytes()


def test_a_run_is_refused_when_its_start_was_replaced(make: Make, folder: Path, parent: Path, tmp_path: Path) -> None:
    config = make(start_from=parent, validate_every=1)
    with pytest.raises(Cancelled):
        train(config, tmp_path / "stopped", progress=stop_after(2))
    train(config, tmp_path / "finished")
    kept = (parent / "model.safetensors").read_bytes()
    file = load_model_file(parent)
    save_model_file(parent / "model.safetensors", dataclasses.replace(file.header, name="other"), file.weights)
    for run in ("stopped", "finished"):
        with pytest.raises(OutputExistsError, match="put that model back, or give another run folder"):
            train(config, tmp_path / run)
    (parent / "model.safetensors").write_bytes(kept)
    assert train(config, tmp_path / "stopped").steps == 4


# --- what the model file tells ---------------------------------------------------------------------------------------


def test_the_model_file_tells_who_trained_on_what_in_order(
    make: Make, folder: Path, parent: Path, tmp_path: Path
) -> None:
    new = {"manifests": [folder / "new.yaml"], "steps": 2}
    child = train(make(name="middle", start_from=parent, **new), tmp_path / "child").model
    youngest = train(make(name="young", start_from=child, image_count=1, **new), tmp_path / "young").model
    header = load_model_file(youngest).header
    first, second = header.lineage
    assert [(one["name"], one["sha256"]) for one in (first, second)] == [
        ("old", load_model_file(parent).sha256),
        ("middle", load_model_file(child).sha256),
    ]
    assert [[one["name"] for one in training["manifests"]] for training in header.trainings] == [
        ["old"],
        ["new"],
        ["new"],
    ]
    assert [training["steps"] for training in header.trainings] == [4, 2, 2]
    assert first["training"]["manifests"][0]["sha256"] == load_manifest(folder / "old.yaml").sha256
    assert first["factor"] == [1, 2, 2]
    assert header.licences == (OLD, NEW), "terms of use of what an ancestor learnt from go on"
    assert header.training["config"]["start_from"] == "model.safetensors", "a name, and no place"
    assert str(folder) not in json.dumps(dataclasses.asdict(header))


def test_what_is_not_told_of_an_ancestor_is_said(folder: Path) -> None:
    file = load_model_file(folder / "parent")
    lineage = [{"name": "older", "sha256": "0"}]
    assert dataclasses.replace(file.header, lineage=lineage).licences == ("not told", OLD)
    untold = {"acquisitions": [{"id": "a", "licence": ""}]}
    assert dataclasses.replace(file.header, training=untold).licences == ("not stated",)


def test_info_shows_the_lineage(make: Make, folder: Path, parent: Path, tmp_path: Path) -> None:
    child = train(make(name="child", start_from=parent, manifests=[folder / "new.yaml"]), tmp_path / "child").run
    shown = " ".join(CliRunner().invoke(app, ["info", str(child)], env={"COLUMNS": "200"}).output.split())
    assert "1. old, on old (2 acquisitions), 4 steps" in shown
    assert load_model_file(parent).sha256 in shown
    assert f"{OLD}; {NEW}" in shown
    told = json.loads(CliRunner().invoke(app, ["info", str(child), "--json"]).output)
    assert told["licences"] == [OLD, NEW]
    assert told["lineage"][0]["training"]["steps"] == 4


def test_what_was_measured_on_the_old_images_is_not_handed_on(
    make: Make, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child has no calibration before it gets its own; the domain and the figures are of its own images."""

    class Found:
        def to_json(self) -> dict[str, str]:
            return {"measured": "anew"}

    file = load_model_file(parent)
    calibrated = dataclasses.replace(file.header, calibration={"claim": "90 %"}, domain={"measured": "before"})
    save_model_file(parent / "model.safetensors", calibrated, file.weights)
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: Found())
    header = load_model_file(train(make(start_from=parent), tmp_path / "child").model).header
    assert header.calibration == {}
    assert header.domain == {"measured": "anew"}


def test_what_starts_from_a_model_for_display_is_for_display(make: Make, parent: Path, tmp_path: Path) -> None:
    file = load_model_file(parent)
    save_model_file(parent / "model.safetensors", dataclasses.replace(file.header, display=True), file.weights)
    result = train(make(start_from=parent, steps=1), tmp_path / "child")
    assert load_model_file(result.model).header.display
    assert any("for display" in note for note in result.notes)


def test_images_of_an_ancestor_are_no_new_images(make: Make, folder: Path, parent: Path, tmp_path: Path) -> None:
    child = train(make(start_from=parent, manifests=[folder / "new.yaml"], steps=1), tmp_path / "child").model
    manifest = load_manifest(folder / "old.yaml")
    headers = {"child": load_model_file(child).header}
    found = {entry.id: _trained_on(headers, manifest.name, entry) for entry in manifest.acquisitions}
    assert found == {"old0": ("child",), "old1": ("child",), "old2": ()}


# --- models that cannot be started from ------------------------------------------------------------------------------


def model_of(folder: Path, architecture: Architecture, **told: Any) -> ModelFile:
    header = ModelHeader("old", architecture.to_json(), architecture.factor, 1, (0, 8, 8), (1, 4, 4), {}, **told)
    save_model_file(
        folder / "model.safetensors", header, {k: v.numpy() for k, v in UNet(architecture).state_dict().items()}
    )
    return load_model_file(folder)


PLAIN: dict[str, Any] = {"factor": (1, 2, 2), "channels": 1, "consistency_sigma": 0.0, **NETS["S"]}


@pytest.mark.parametrize(
    ("model", "recipe", "says"),
    [
        ({}, {"factor": (1, 4, 4)}, r"has factor \[1,2,2\], the recipe factor \[1,4,4\]; give --set factor=\[1,2,2\]"),
        ({}, {"channels": 2}, r"channels 1, the recipe channels 2; give --set model.together=false"),
        ({"channels": 2}, {}, r"give --set channels=\[0,1\] --set model.together=true"),
        ({}, {"dimensions": 3}, r"give --set model.dimensions=2"),
        ({}, {"frames": 3, "target": 1}, r"frames 1, target 0, .*; give --set model.context=null to"),
        ({"frames": 3, "target": 1}, {}, r"give --set 'model.context=\{axis: z, frames: 3\}' to"),
        ({}, NETS["M"], r"give --set model.preset=S to"),
        ({"norm": "batch"}, {}, r"give --set model.norm=batch"),
        ({"attention": True}, {}, r"give --set model.attention=true"),
        (THIN | {"middle_blocks": 3}, {}, r"change the recipe"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, model: dict[str, Any], recipe: dict[str, Any], says: str
) -> None:
    context = {"axis": "z", "frames": 3, "predict": None}
    told = {"training": {"config": {"model": {"context": context}}}} if "frames" in model else {}
    file = model_of(tmp_path, Architecture(**PLAIN | model), **told)
    with pytest.raises(ModelFileError, match=says):
        refuse_other_kind(file, Architecture(**PLAIN | recipe))


def test_an_interval_head_that_the_model_lacks_is_made(tmp_path: Path) -> None:
    file = model_of(tmp_path, Architecture(**PLAIN))
    net = UNet(Architecture(**PLAIN, interval=True))
    take_weights(net, file)
    np.testing.assert_array_equal(net.state_dict()["stem.weight"].numpy(), file.weights["stem.weight"])


def test_damaged_models_are_refused(make: Make, parent: Path, tmp_path: Path) -> None:
    file = load_model_file(parent)
    path = tmp_path / "damaged.safetensors"
    whole = (parent / "model.safetensors").read_bytes()
    nothing = dict(file.weights) | {"stem.weight": np.full_like(file.weights["stem.weight"], np.nan)}
    other = dict(file.weights) | {"stem.weight": file.weights["stem.weight"][:2]}
    few = {name: value for name, value in file.weights.items() if name != "stem.weight"}
    for weights, says in ((nothing, "not finite"), (other, "do not fit"), (few, "lacks stem.weight")):
        save_model_file(path, file.header, weights)
        with pytest.raises(ModelFileError, match=says):
            train(make(start_from=path), tmp_path / "run")
    unknown = dataclasses.replace(file.header, architecture=dict(file.header.architecture) | {"mirrors": 3})
    save_model_file(path, unknown, file.weights)
    with pytest.raises(ModelFileError, match=r"mirrors.*update superres"):
        train(make(start_from=path), tmp_path / "run")
    for content in (whole[: len(whole) // 2], b"", b"no model"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a readable"):
            train(make(start_from=path), tmp_path / "run")
    with pytest.raises(MissingFileError, match="no such model file"):
        train(make(start_from=tmp_path / "gone"), tmp_path / "run")
