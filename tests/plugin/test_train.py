"""The Train widget: recipe, curve, pictures, stopping early, and the model in the Upscale widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import safetensors.numpy
import skimage.data

from superres.config import TrainConfig, load_config
from superres.errors import InputError, OutputExistsError
from superres.modelfile import load_model_file, read_model_header
from superres.plugin import recipe_task, train_task
from superres.plugin.pair_manifest import Image
from superres.progress import Progress, silent
from superres.training import train

QUICK = (
    "steps=30 model.preset=XS patch.size=16 patch.batch=2 device=cpu validate_every=10 sample_every=10 "
    "augment.coarser=0"
)


@pytest.fixture
def sharp(tmp_path: Path) -> Path:
    """Write two sharp images that have nothing in common."""
    folder = tmp_path / "sharp"
    folder.mkdir()
    cell = skimage.data.cell()
    for name, rows in (("one", slice(0, 128)), ("two", slice(300, 428))):
        imageio.imwrite(folder / f"{name}.png", np.ascontiguousarray(cell[rows, 100:260]))
    return folder


@pytest.fixture
def low(sharp: Path) -> Path:
    folder = sharp.with_name("low")
    folder.mkdir()
    for file in sorted(sharp.iterdir()):
        image = imageio.imread(file)
        imageio.imwrite(folder / file.name, image.reshape(64, 2, 80, 2).mean((1, 3)).round().astype(np.uint8))
    return folder


def nothing(told: dict[str, Any]) -> None: ...


def test_pairs_become_a_recipe_that_is_trained_and_ended_early(sharp: Path, low: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pairs = [(Image(str(low / name)), Image(str(sharp / name))) for name in ("one.png", "two.png")]
    asked = recipe_task.request_for_pairs(pairs, out, given=QUICK.split())
    found = recipe_task.run(asked, silent, nothing)
    config = load_config(TrainConfig, Path(found["recipe"]))
    assert (config.factor, config.steps, config.degrade) == ((1, 2, 2), 30, ())
    with pytest.raises(OutputExistsError):
        recipe_task.run(asked, silent, nothing)
    assert recipe_task.run(asked | {"replace": True}, silent, nothing)["text"] == found["text"]

    events: list[Progress] = []
    enough = tmp_path / "enough"

    def progress(event: Progress) -> None:
        events.append(event)
        if event.note == "step 10":
            enough.touch()

    result = train_task.run(train_task.request(out / "recipe.yaml", out, enough), progress, nothing)
    assert result["steps"] == 10 == read_model_header(Path(result["model"])).training["steps"]
    assert any("ended at step 10" in line for line in result["warnings"])
    assert "loss" in events[-1].values
    # Until then it was the training that the recipe says.
    short = config.model_copy(update={"steps": 30, "snapshots": 3})
    train(short, tmp_path / "whole")
    ended = load_model_file(Path(result["model"])).weights
    snapshot = safetensors.numpy.load_file(tmp_path / "whole" / "snapshots" / "step_000010.safetensors")
    assert ended.keys() == snapshot.keys()
    for name, value in ended.items():
        np.testing.assert_array_equal(value, snapshot[name])


def test_pairs_of_different_factors_are_refused(sharp: Path, low: Path, tmp_path: Path) -> None:
    pairs = [(Image(str(low / "one.png")), Image(str(sharp / "one.png")))]
    pairs += [(Image(str(sharp / "two.png")), Image(str(sharp / "two.png")))]
    with pytest.raises(InputError, match="one net learns one factor"):
        recipe_task.run(recipe_task.request_for_pairs(pairs, tmp_path / "run", given=[]), silent, nothing)


@pytest.mark.napari
def test_a_folder_becomes_a_model_that_upscale_offers(
    viewer: Any, qtbot: Any, sharp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    from napari.utils.notifications import notification_manager

    from superres.plugin.model_row import ModelRow
    from superres.plugin.remembered import remembered_models
    from superres.plugin.train import TrainWidget

    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    models = ModelRow()
    qtbot.addWidget(models)
    widget.folder.setText(str(tmp_path / "run"))
    widget.train_button.click()
    assert "Choose the folder" in str(notification_manager.records[-1].message)
    widget.choice.kind.setCurrentText("Sharp image layers")
    widget.train_button.click()
    assert "Tick at least one layer" in str(notification_manager.records[-1].message)
    widget.choice.kind.setCurrentText("Sharp images in a folder")
    widget.choice.folder.setText(str(sharp))
    widget.choice.factor.setValue(2)
    widget.settings.setText(QUICK)
    widget.write_button.click()
    qtbot.waitUntil(lambda: "manifests" in widget.recipe.toPlainText(), timeout=120_000)
    assert "steps: 30" in widget.recipe.toPlainText()
    widget.recipe.setPlainText(widget.recipe.toPlainText().replace("steps: 30", "steps: 20"))
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.model is not None, timeout=240_000)
    assert widget.model == tmp_path / "run" / "model.safetensors"
    assert read_model_header(widget.model).training["steps"] == 20
    assert widget.watch.done == [10, 20]
    assert not widget.watch.sample.pixmap().isNull()
    assert "Step 20" in widget.watch.caption.text()
    assert "not trained on" in widget.watch.figures.text()
    assert remembered_models() == [widget.model]
    assert models.path == widget.model
    assert widget.enough_button.isHidden()
