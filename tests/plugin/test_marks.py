"""Marks on a result: what is cut out for them, how often it is learnt from, and the way through the Train widget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import IntensityRule, OptimiserConfig, TrainConfig, UpscaleConfig, dump_config, load_config
from superres.datasets import load_manifest
from superres.datasets.marked_crops import WEIGHTS, ImageChannel, MarkedPair, piece_file, read_marks
from superres.datasets.marked_pair import cut_marks
from superres.datasets.marks import Box, Mark, box_of, boxes_elsewhere, inside
from superres.datasets.patches import PatchSampler
from superres.datasets.sources import open_sources
from superres.errors import InputError, ModelFileError, OutputExistsError
from superres.evaluation.marked import Change, changes_in_words, score_marks
from superres.evaluation.sampling import Setup, draw_samples
from superres.inference import upscale
from superres.modelfile import load_model_file, read_model_header
from superres.plugin.marking import marks_on
from superres.training.kind import open_split
from superres.training.tuned import smallest_piece, tuning_config
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

if TYPE_CHECKING:
    import napari
    from pytestqt.qtbot import QtBot

FACTOR = (1, 2, 2)
LEAST = (1, 1, 16, 16)
LONG = 240_000
MakeModel = Callable[..., Path]


def mark(kind: Any = "wrong", *, y: float = 10, x: float = 10, side: float = 6, z: int = 0, t: int = 0) -> Mark:
    return Mark(kind, t, z, ((y, x), (y, x + side), (y + side, x + side), (y + side, x)))


# --- from marks to boxes ---------------------------------------------------------------------------------------------

corner = st.floats(-5, 60, allow_nan=False)
outlines = st.lists(st.tuples(corner, corner), min_size=3, max_size=6)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(8, 50), st.integers(8, 50))
leasts = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 24), st.integers(1, 24))


@given(outlines, sizes, leasts, st.integers(0, 2), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_every_marked_voxel_is_in_its_box_which_is_a_patch_at_least(
    outline: list[tuple[float, float]], shape: Any, least: Any, t: int, z: int
) -> None:
    one = Mark("wrong", min(t, shape[0] - 1), min(z, shape[1] - 1), tuple(outline))
    whole = Box(*((0, n) for n in shape))
    marked = inside(one, whole, FACTOR)
    try:
        box = box_of(one, shape, least)
    except InputError:
        assert not marked.any()
        return
    for (start, stop), wanted, n in zip(box, least, shape, strict=True):
        assert 0 <= start < stop <= n
        assert stop - start >= min(wanted, n)
    assert inside(one, box, FACTOR).sum() == marked.sum()
    window = tuple(slice(a * f, b * f) for (a, b), f in zip(box, (1, *FACTOR), strict=True))
    np.testing.assert_array_equal(inside(one, box, FACTOR), marked[window])


@given(st.lists(st.tuples(corner, corner, st.integers(0, 3)), min_size=1, max_size=4), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_what_is_watched_shares_no_place_with_what_is_learnt(
    corners: list[tuple[float, float, int]], most: int
) -> None:
    shape = (1, 4, 64, 80)
    marks = [mark(y=min(y, 55), x=x, z=z) for y, x, z in corners]
    taken = [box_of(one, shape, LEAST) for one in marks]
    found = boxes_elsewhere(marks, taken, shape, LEAST, most)
    seen = np.zeros(shape[2:], int)
    for box in taken:
        seen[slice(*box.y), slice(*box.x)] = 1
    for box in found:
        assert not seen[slice(*box.y), slice(*box.x)].any()
        assert tuple(b - a for a, b in box) == LEAST
        assert (box.t[0], box.z[0]) in {(one.t, one.z) for one in marks}
        seen[slice(*box.y), slice(*box.x)] = 1
    assert len(found) <= most


def test_a_rectangle_along_voxel_edges_is_exactly_those_voxels() -> None:
    one = Mark("wrong", 0, 0, ((3.5, 1.5), (3.5, 5.5), (6.5, 5.5), (6.5, 1.5)))
    assert box_of(one, (1, 1, 20, 20), (1, 1, 1, 1)) == Box((0, 1), (0, 1), (4, 7), (2, 6))
    assert inside(one, Box((0, 1), (0, 1), (4, 7), (2, 6)), FACTOR).all()


def test_boxes_of_nets_that_look_along_z_hold_the_planes_that_they_see() -> None:
    assert box_of(mark(z=9), (1, 10, 40, 40), (1, 3, 16, 16)).z == (7, 10)


# --- from boxes to pairs in files ------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write a recording of 80 x 100 voxels and its sharp image, which is on another grey scale; a corner is empty."""
    sharp = skimage.data.camera()[60:220, 150:350].astype(np.uint16) * 100 + 700
    sharp[120:, 140:] = 5000
    low = sharp.reshape(80, 2, 100, 2).mean((1, 3)) / 50
    low += np.random.default_rng(0).normal(size=low.shape) * 3
    paths = tmp_path / "low.tif", tmp_path / "sharp.tif"
    for path, image, size in zip(paths, (low.round().astype(np.uint16), sharp), (0.4, 0.2), strict=True):
        save_hyperstack(path, image[None, None, None], voxel_size=(None, size, size))
    return paths


def cut(pair: Sequence[Path], marks: Sequence[Mark], run: Path) -> MarkedPair:
    low, high = (ImageChannel(str(path)) for path in pair)
    return cut_marks(low, high, marks, run, factor=FACTOR, least=LEAST, rule=IntensityRule())


def plane(path: Path) -> np.ndarray[Any, Any]:
    volume = open_volume(path)
    return volume.read(t=0, c=0, z=slice(0, 1), y=slice(None), x=slice(None))[0]


def test_pieces_of_both_images_cover_the_same_ground(pair: tuple[Path, Path], tmp_path: Path) -> None:
    marks = [mark(y=2.3, x=4.7), mark(y=40, x=50, side=30), mark("right", y=70, x=90)]
    found = cut(pair, marks, tmp_path / "run")
    assert read_marks(tmp_path / "run") == found
    assert [piece.name for piece in found.pieces[:3]] == ["wrong_1", "wrong_2", "right_1"]
    assert found.count("elsewhere") > 4
    wholes = [plane(path) for path in pair]
    for piece in found.pieces:
        for whole, name, scale in zip(wholes, piece.files, (1, 2), strict=True):
            volume = open_volume(piece_file(tmp_path / "run", name))
            y, x = (slice(a * scale, b * scale) for a, b in piece.box[2:])
            np.testing.assert_array_equal(plane(volume.source), whole[y, x])
            size = 0.4 / scale
            assert volume.voxel_size[1:] == pytest.approx((size, size))
            np.testing.assert_allclose(volume.translation[1:], (y.start * size, x.start * size), atol=1e-9)


def test_pieces_have_the_grey_scale_of_the_whole_and_wrong_outweighs_right(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    marks = [mark(y=2, x=4), mark("right", y=64, x=80), mark("right", y=30, x=4, side=40)]
    found = cut(pair, marks, run)
    config = load_config(
        TrainConfig, None, ["steps=1", "patch.size=16"], manifests=str(run / "manifest.yaml"), factor=FACTOR
    )
    manifests = (load_manifest(run / "manifest.yaml"),)
    sources, left_out = open_split(config, manifests, "train")
    assert not left_out  # an empty place can be learnt from as well
    assert {(s.high_gain, s.high_offset, s.intensity.black) for s in sources} == {
        (found.whole.gain, found.whole.offset, found.whole.black)
    }
    assert found.whole.gain == pytest.approx(1 / 50, rel=0.02)
    shares = PatchSampler(sources, factor=FACTOR, size=16, seed=0)._shares
    wrong = sum(share for share, s in zip(shares, sources, strict=True) if s.acquisition == "wrong")
    assert wrong == pytest.approx(WEIGHTS["wrong"] / sum(WEIGHTS.values())) == 0.75
    mixed = [dataclasses.replace(manifests[0].acquisitions[1], weight=None), manifests[0].acquisitions[0]]
    with pytest.raises(InputError, match="right has no weight in its manifest, and wrong has one"):
        open_sources(mixed, factor=FACTOR, rule=config.intensity)
    valid, _ = open_split(config, manifests, "val")
    assert len(valid) == found.count("elsewhere")
    setup = Setup(FACTOR, (), IntensityRule(), planes=1, crop=0, seed=0, whole_stacks=False)
    (sample,), _ = draw_samples(manifests[0].acquisitions[0], setup)  # scored on the same scale
    sharp = plane(piece_file(run, "wrong_1_high")).astype(np.float64)
    np.testing.assert_allclose(sample.truth[0, 0], sharp * found.whole.gain + found.whole.offset, rtol=1e-5)


def test_places_that_look_like_marked_ones_are_not_watched(tmp_path: Path) -> None:
    tile = skimage.data.camera()[:64, 150:214].astype(np.uint16) * 100
    sharp = np.tile(tile, (3, 3))
    low = sharp.reshape(96, 2, 96, 2).mean((1, 3)).round().astype(np.uint16)
    for name, image in (("low", low), ("sharp", sharp)):
        save_hyperstack(tmp_path / f"{name}.tif", image[None, None, None])
    marks = [mark(y=32, x=32, side=32)]
    found = cut_marks(
        ImageChannel(str(tmp_path / "low.tif")),
        ImageChannel(str(tmp_path / "sharp.tif")),
        marks,
        tmp_path / "run",
        factor=FACTOR,
        least=(1, 1, 32, 32),
        rule=IntensityRule(),
    )
    assert [piece.kind for piece in found.pieces] == ["wrong"]
    assert read_marks(tmp_path / "run") == found
    assert [one.split for one in load_manifest(tmp_path / "run" / "manifest.yaml").acquisitions] == ["train"]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ([mark("right")], "nothing is marked as wrong"),
        ([mark(), mark(y=200)], "lies beside the recording"),
        ([mark(z=3)], "beside the images"),
    ],
)
def test_marks_that_cannot_be_learnt_from_leave_nothing_behind(
    pair: tuple[Path, Path], tmp_path: Path, marks: list[Mark], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        cut(pair, marks, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_that_do_not_belong_together_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    low, sharp = pair
    other = plane(sharp)[::-1, ::-1].copy()
    for name, image, message in (("turned", other, "cannot be laid on"), ("small", other[:150], "must have 1x160x200")):
        save_hyperstack(tmp_path / f"{name}.tif", image[None, None, None])
        with pytest.raises(InputError, match=message):
            cut((low, tmp_path / f"{name}.tif"), [mark()], tmp_path / "run")


def test_a_sharp_image_that_lies_beside_is_moved_onto_the_recording(pair: tuple[Path, Path], tmp_path: Path) -> None:
    low, sharp = pair
    moved = np.roll(plane(sharp), (4, -2), (0, 1))
    save_hyperstack(tmp_path / "moved.tif", moved[None, None, None])
    found = cut((low, tmp_path / "moved.tif"), [mark(y=20, x=30)], tmp_path / "run")
    np.testing.assert_allclose(found.shift, (0, -4, 2), atol=0.1)
    (y, x), high = found.pieces[0].box[2:], plane(piece_file(tmp_path / "run", "wrong_1_high"))
    expected = plane(sharp)[2 * y[0] : 2 * y[1], 2 * x[0] : 2 * x[1]]
    assert np.corrcoef(high.ravel(), expected.ravel())[0, 1] > 0.99
    with pytest.raises(OutputExistsError):
        cut((low, tmp_path / "moved.tif"), [mark(y=20, x=30)], tmp_path / "run")


# --- the recipe and the words ----------------------------------------------------------------------------------------


def test_a_recipe_has_the_net_of_its_model_and_what_is_given(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(training={"config": {"patch": {"size": 20, "batch": 2}, "augment": {"of": "old"}}})
    config = tuning_config(model, tmp_path / "manifest.yaml", name="n", given=["steps=7", "device=cpu"])
    assert config.optimiser.learning_rate < OptimiserConfig().learning_rate
    assert (config.model.preset, config.factor, config.steps, config.patch.size) == ("XS", FACTOR, 7, 20)
    assert config.layer_rates is not None
    assert config.phases[0].layers == "head"
    stride = read_model_header(model).stride[1]
    assert smallest_piece(config) == (1, 1, -(-20 // stride) * stride, -(-20 // stride) * stride)
    with pytest.raises(ModelFileError, match="several channels"):
        tuning_config(make_model(context={"axis": "c", "frames": 2, "target": 0}), tmp_path, name="n")


def test_errors_are_those_of_the_upscaled_image_inside_the_marks(
    pair: tuple[Path, Path], make_model: MakeModel, tmp_path: Path
) -> None:
    run, model = tmp_path / "run", make_model()
    marks = [mark(y=10, x=12, side=9), mark("right", y=14, x=16, side=12), mark("right", y=40, x=60)]
    found = cut(pair, marks, run)
    config = tuning_config(model, run / "manifest.yaml", name="n", given=["device=cpu"])
    (run / "config.yaml").write_text(dump_config(config))
    changes = {one.kind: one for one in score_marks(run, model, device="cpu")}
    settings = UpscaleConfig(model=model, device="cpu", trust=False, dtype="float32")
    pred = plane(upscale(pair[0], tmp_path / "all.ome.zarr", settings).path)
    truth = plane(pair[1]) * found.whole.gain + found.whole.offset
    wrong, right = np.zeros((2, *truth.shape), bool)
    wrong[21:39, 25:43] = True  # voxels whose centre is inside, by hand
    right[29:53, 33:57] = right[81:93, 121:133] = True
    right &= ~wrong
    elsewhere = np.zeros(truth.shape, bool)
    for piece in found.pieces[3:]:
        elsewhere[tuple(slice(2 * a, 2 * b) for a, b in piece.box[2:])] = True
    reach = np.ptp(truth[wrong | right | elsewhere])
    for kind, area in (("wrong", wrong), ("right", right), ("elsewhere", elsewhere)):
        expected = 10 * np.log10(reach**2 / np.mean((truth - pred)[area] ** 2))
        assert changes[kind].voxels == area.sum()
        assert changes[kind].before == changes[kind].after == pytest.approx(expected, abs=1e-3)


def test_what_got_worse_is_said_plainly() -> None:
    changes = [Change("wrong", 20, 22, 9), Change("right", 25, 24.8, 9), Change("elsewhere", 24, 23.95, 9)]
    lines = changes_in_words(changes)
    assert "(+2.00 dB)" in lines[0]
    assert any("right got worse by 0.20 dB" in line for line in lines)
    assert not any("rest of the image got worse" in line for line in lines)  # by less than 0.1 dB


# --- in the viewer ---------------------------------------------------------------------------------------------------

QUICK = "steps=4 patch.size=16 patch.batch=2 device=cpu validate_every=4 sample_every=4"


def last_said() -> str:
    from napari.utils.notifications import notification_manager

    return str(notification_manager.records[-1].message)


def rectangle(y: float, x: float, side: float) -> np.ndarray[Any, Any]:
    return np.array([[y, x], [y, x + side], [y + side, x + side], [y + side, x]])


@pytest.mark.napari
def test_a_model_learns_from_what_is_marked_on_its_result(
    viewer: napari.Viewer,
    qtbot: QtBot,
    pair: tuple[Path, Path],
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    from superres.plugin.model_row import ModelRow
    from superres.plugin.reader import read
    from superres.plugin.remembered import remember_model
    from superres.plugin.train import TrainWidget

    model, store = make_model(), tmp_path / "result.ome.zarr"
    upscale(pair[0], store, UpscaleConfig(model=model, device="cpu", trust=False))
    remember_model(model)
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    choice = widget.choice.marks
    widget.choice.kind.setCurrentText("What I mark on a result")
    assert widget.train_button.text() == "Fine-tune on what I mark"
    widget.folder.setText(str(tmp_path / "run"))
    widget.settings.setText(QUICK)
    choice.mark_button.click()
    assert "Choose the result" in last_said()
    low, result = (viewer.add_image(*read(str(path))[0][:1], **read(str(path))[0][1]) for path in (pair[0], store))
    choice.result.choose(result)
    widget.train_button.click()
    assert "Choose a layer for the sharp image" in last_said()
    sharp = viewer.add_image(read(str(pair[1]))[0][0], **read(str(pair[1]))[0][1])
    choice.high.choose(sharp)
    assert (choice.result.layer, choice.low.layer, choice.high.layer) == (result, low, sharp)
    assert choice.model.path == model
    widget.train_button.click()
    assert "Nothing is marked as wrong yet" in last_said()

    viewer.dims.ndisplay = 3
    choice.mark_button.click()
    assert "leave the 3-D view" in last_said()
    viewer.dims.ndisplay = 2
    choice.mark_button.click()
    layers = {layer.name: layer for layer in viewer.layers if type(layer).__name__ == "Shapes"}
    wrong, right = layers["wrong"], layers["right"]
    assert viewer.layers.selection.active is wrong
    assert str(wrong.mode) == "add_rectangle"
    np.testing.assert_allclose(wrong.scale, (0.2, 0.2))
    wrong.add([[10, 10], [20, 30]], shape_type="line")
    widget.train_button.click()
    assert "encloses nothing" in last_said()
    wrong.selected_data = {0}
    wrong.remove_selected()
    wrong.add(rectangle(20, 40, 30), shape_type="rectangle")
    right.add(rectangle(90, 120, 20), shape_type="ellipse")
    assert choice.count.text() == "1 marked as wrong, 1 as right"

    upscaler = ModelRow()
    qtbot.addWidget(upscaler)
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.model is not None, timeout=LONG)
    recipe = widget.recipe.toPlainText()
    assert "Learnt from: 1 marked as wrong, 1 as right" in recipe
    assert f"start_from: {model}" in recipe
    said = widget.notes.text()
    assert "Inside what you marked as wrong (learnt from): PSNR" in said
    assert "Elsewhere (not learnt from): PSNR" in said
    assert widget.watch.done
    assert widget.model is not None
    header = read_model_header(widget.model)
    assert header.parent == load_model_file(model).sha256
    assert [entry["id"] for entry in header.training["acquisitions"]] == ["wrong", "right"]
    assert upscaler.box.findText(str(widget.model)) >= 0
    # What was drawn on the result is on the recording where it was.
    kept = read_marks(tmp_path / "run")
    assert kept is not None
    np.testing.assert_allclose(kept.marks[0].outline, (rectangle(20, 40, 30) + 0.5) / 2 - 0.5, atol=1e-6)
    assert [one.kind for one in kept.marks] == ["wrong", "right"]
    assert len(kept.marks[1].outline) > 4


@pytest.mark.napari
def test_shapes_across_planes_are_refused_and_those_in_one_are_there() -> None:
    from napari.components import ViewerModel

    from superres.plugin.marking import add_mark_layers

    viewer: Any = ViewerModel()
    low = viewer.add_image(np.zeros((5, 30, 40), np.uint8))
    result = viewer.add_image(np.zeros((5, 60, 80), np.uint8), scale=(1, 0.5, 0.5), translate=(0, -0.25, -0.25))
    layers = add_mark_layers(viewer, result)
    assert add_mark_layers(viewer, result) == layers
    flat = np.insert(rectangle(9.5, 19.5, 20), 0, 3, axis=1)
    layers["wrong"].add(flat, shape_type="polygon")
    (found,) = marks_on(layers, low, result, FACTOR)
    assert (found["kind"], found["t"], found["z"]) == ("wrong", 0, 3)
    np.testing.assert_allclose(found["outline"], rectangle(4.5, 9.5, 10))
    part = viewer.add_image(np.zeros((1, 20, 20), np.uint8), scale=(1, 0.5, 0.5), translate=(2, 4.75, 9.75))
    assert marks_on(layers, low, part, FACTOR) == [found]  # by its place in the world
    flat[2, 0] = 4
    layers["wrong"].add(flat, shape_type="polygon")
    with pytest.raises(InputError, match="several planes"):
        marks_on(layers, low, result, FACTOR)
