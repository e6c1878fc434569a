"""The command line as a user meets it: what is printed where, exit codes, clean messages, JSON."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

import superres
from superres.cli import app
from superres.cli import output as cli_output
from superres.config import TrainConfig, UpscaleConfig
from superres.errors import InputError, MissingFileError
from superres.modelfile import ModelHeader, save_model_file
from superres.progress import Progress

COMMANDS = ["demo", "info", "train", "upscale", "evaluate"]


def run(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a run folder whose model file has no net in it."""
    folder = tmp_path / "run"
    folder.mkdir()
    header = ModelHeader(
        name="em", architecture={}, factor=(1, 4, 4), channels=1, receptive_radius=(0, 56, 56), stride=(1, 4, 4),
        intensity={}, voxel_size=(None, 0.016, 0.016), version="0.1.0",
        degradation=[{"downsample": "binning"}, {"poisson": {"photons": [200.0, 310.0]}}],
        training={"manifests": [{"name": "em"}], "acquisitions": [{"id": "a"}], "steps": 500, "seconds": 900.0,
                  "config": {"model": {"preset": "S"}}},
        metrics={"psnr": 30.5, "psnr_bicubic": 28.25, "psnr_per_acquisition": {"a": 30.5}},
    )  # fmt: skip
    save_model_file(folder / "model.safetensors", header, {"w": np.zeros((1000, 40), np.float32)})
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "cell.ome.tif"
    tifffile.imwrite(path, np.arange(2 * 9 * 7, dtype=np.uint16).reshape(2, 9, 7), metadata={"axes": "ZYX"})
    return path


Upscaled = list[tuple[Path, Path, UpscaleConfig]]


@pytest.fixture
def upscaled(monkeypatch: pytest.MonkeyPatch) -> Upscaled:
    """Replace the engine by one that notes its calls; inputs named bad, bug or gone fail."""
    from superres import inference
    from superres.inference import batch, estimate

    calls: Upscaled = []

    def upscale(source: Path, out: Path, config: UpscaleConfig, *, progress: Any, predictor: Any, **_: Any) -> Any:
        assert predictor == "loaded once"
        if "gone" in source.name:
            raise MissingFileError(f"{source}: no such file or folder; check the path")
        if "bad" in source.name:
            raise InputError(f"{source}: 3 axes found, cannot tell Z from C; give axes, e.g. --set axes=ZYX")
        if "bug" in source.name:
            raise ZeroDivisionError("a bug")
        calls.append((source, out, config))
        progress(Progress("upscale", 0, 2, "tiles"))
        progress(Progress("upscale", 2, 2, "tiles"))
        return inference.UpscaleSummary(
            path=out, shape=(1, 1, 2, 36, 28), voxel_size=(None, 0.025, 0.025), units=3, units_done_before=1,
            seconds=1.25, clipped=7, warnings=("7 voxels were clipped",),
        )  # fmt: skip

    models: list[Path] = []
    monkeypatch.setattr(estimate.Room, "require", lambda *arguments: None)
    monkeypatch.setattr(batch, "lanes_for", lambda *arguments: 1)
    monkeypatch.setattr(inference, "upscale", upscale)
    monkeypatch.setattr(inference, "load_model", lambda path, device: models.append(path) or "loaded once")
    return calls


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_that_parse(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    examples = [line.split() for line in result.stdout.splitlines() if line.strip().startswith(f"superres {command}")]
    assert examples
    known = {option for option in result.stdout.split() if option.startswith("--")}
    for words in examples:
        assert {word for word in words if word.startswith("--")} <= known


def test_top_help_lists_every_command() -> None:
    shown = run("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in shown


def test_version() -> None:
    assert run("--version").stdout.strip() == superres.__version__


@pytest.mark.parametrize("arguments", [["upscale"], ["info", "a", "--no-such"], ["nonsense"], ["train", "r.yaml"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


# --- info ------------------------------------------------------------------------------------------------------------


def test_info_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, np.zeros((3, 2, 9, 7), np.uint16), imagej=True, resolution=(10.0, 10.0),
        metadata={"axes": "ZCYX", "unit": "um", "spacing": 0.5},
    )  # fmt: skip
    shown = run("info", path).stdout
    for fact in (
        "ImageJ TIFF",
        "ZCYX, found in the file",
        "T 1 C 2 Z 3 Y 9 X 7 (756 B)",
        "uint16",
        "Z 0.5, Y 0.1, X 0.1 µm",
    ):
        assert fact in shown
    document = json.loads(run("info", path, "--json").stdout)
    assert document["kind"] == "image"
    assert document["shape"] == [1, 2, 3, 9, 7]
    assert document["voxel_size"] == pytest.approx([0.5, 0.1, 0.1])
    assert document["levels"] == [[1, 2, 3, 9, 7]]


def test_info_never_guesses_a_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "plane.png"
    imageio.imwrite(path, np.zeros((9, 7), np.uint8))
    assert "voxel size  unknown" in run("info", path).stdout
    assert json.loads(run("info", path, "--json").stdout)["voxel_size"] == [None, None, None]


@pytest.mark.parametrize("option", [["--axes", "CYX"], ["--set", "axes=CYX"]])
def test_info_takes_axes_either_way(tmp_path: Path, option: list[str]) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((5, 9, 7), np.uint8), photometric="minisblack", metadata=None)
    assert run("info", path).exit_code == 2
    document = json.loads(run("info", path, *option, "--json").stdout)
    assert document["shape"] == [1, 5, 1, 9, 7]
    assert document["axes_from"] == "given with --axes"


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_info_of_a_model(model: Path, name: str) -> None:
    shown = run("info", model / name).stdout
    for fact in (
        "Z 1 Y 4 X 4",
        "preset S, 0.04 million parameters",
        "Z 0 Y 56 X 56",
        "binning, then poisson (photons 200 to 310)",
        "em (1 acquisition)",
        "500 steps, 15 min",
        "PSNR 30.5 dB, PSNR bicubic 28.25 dB",
        "Z unknown, Y 0.016, X 0.016 µm",
    ):
        assert fact in " ".join(shown.split())
    document = json.loads(run("info", model / name, "--json").stdout)
    assert (document["kind"], document["parameters"], document["factor"]) == ("model", 40000, [1, 4, 4])
    assert document["metrics"]["psnr_per_acquisition"] == {"a": 30.5}


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_error_is_one_message_on_stderr(tmp_path: Path, as_json: list[str]) -> None:
    result = run("info", tmp_path / "none.tif", *as_json)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path / 'none.tif'}: no such file or folder; check the path\n"


@pytest.mark.parametrize(
    "name", ["a [bold]b[/bold].tif", "[/].tif", "x[red].tif", "é :smile: #1.tif", "two  spaces.tif"]
)
def test_paths_are_never_read_as_markup(tmp_path: Path, name: str) -> None:
    assert str(tmp_path / name) in run("info", tmp_path / name).stderr


def test_a_long_path_is_not_broken(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["a_rather_long_folder_name"] * 6, "image.tif")
    for command in (["info", path], ["upscale", path, "--model", path, "--out", path]):
        assert str(path) in run(*command).stderr


def test_every_wrong_setting_is_listed(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("manifests: m.yaml\nfactor: [1, 2, 2]\nsteps: 5\n", encoding="utf-8")
    result = run("train", recipe, "--out", tmp_path / "run", "--set", "modl.preset=S", "--set", "seed=x")
    assert result.exit_code == 2
    assert f"error: {recipe}: 2 wrong settings\n" in result.stderr
    assert "  modl: unknown key; did you mean model?\n" in result.stderr
    assert not (tmp_path / "run").exists()


def test_anything_else_is_a_traceback(model: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    with pytest.raises(ZeroDivisionError):
        run("upscale", "bug.tif", "--model", model, "--out", tmp_path / "o.zarr")


def test_warnings_are_single_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with cli_output.warnings_as_lines():
            warnings.warn("seed has no effect\non [this]", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: seed has no effect\non [this]\n"


# --- train, evaluate, demo -------------------------------------------------------------------------------------------


def test_train_builds_the_config_and_tells_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from superres import training

    seen: list[TrainConfig] = []

    def train(config: TrainConfig, out: Path, *, progress: Callable[[Progress], None]) -> training.TrainResult:
        seen.append(config)
        progress(Progress("train", 1, 2, "steps", "step 1", {"loss": 0.5}))
        metrics = {"psnr": 30.0, "psnr_per_acquisition": {"a": float("nan")}}
        return training.TrainResult(out / "model.safetensors", out, 2, 61.0, metrics, ("1 image was left out",))

    monkeypatch.setattr(training, "train", train)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("manifests: m.yaml\nfactor: [1, 2, 2]\nsteps: 5\n", encoding="utf-8")
    command = [
        "train",
        recipe,
        "--out",
        tmp_path / "runs" / "a",
        "--set",
        "model.preset=S",
        "--set",
        "time_budget=2min",
    ]
    result = run(*command)
    assert result.exit_code == 0
    assert (seen[0].model.preset, seen[0].time_budget, seen[0].steps) == ("S", 120.0, 5)
    assert str(tmp_path / "runs" / "a" / "model.safetensors") in result.stdout
    assert "1 image was left out" in result.stdout
    assert "train 1/2 steps, step 1, loss 0.5" in result.stderr
    document = json.loads(run(*command, "--json").stdout)
    assert document["model"] == str(tmp_path / "runs" / "a" / "model.safetensors")
    assert document["metrics"]["psnr_per_acquisition"] == {"a": None}


@pytest.fixture
def evaluation(tmp_path: Path) -> Any:
    from superres.evaluation import Evaluation, Scores
    from superres.evaluation.results import AcquisitionResult, Gain, evaluation_to_json
    from superres.evaluation.statistics import Comparison, Interval

    def scores(psnr: float, ssim: float) -> Scores:
        return Scores(psnr, psnr, ssim, 0.1, 1.0, 0.0, 0.9, 1.0)

    def acquisition(name: str, model_psnr: float) -> AcquisitionResult:
        by_method = {
            "bicubic": scores(27.0, 0.8),
            "richardson-lucy": scores(28.0, 0.7),
            "superres": scores(model_psnr, 0.9),
        }
        return AcquisitionResult(
            "em", name, "here", "CC0", "someone", ("z 0",), 1, (9, 7), (None, None, None), (255.0,), "given", by_method,
            warnings=("a warning",),
        )  # fmt: skip

    acquisitions = (acquisition("brain [red]", 29.5), acquisition("liver", 27.25))
    result = Evaluation(
        report=tmp_path / "report.html", data=tmp_path / "report.json",
        methods=("bicubic", "richardson-lucy", "superres"), reference="bicubic", acquisitions=acquisitions,
        skipped={"blank": "constant"}, mean=acquisitions[0].scores,
        gains={"bicubic": Gain(*[Comparison(Interval(1.375, 0.25, 2.5, 2), 2, 0.5, 0.75)] * 5)}, conventions={},
    )  # fmt: skip
    result.data.write_text(evaluation_to_json(result), encoding="utf-8")
    return result


def test_evaluate_prints_a_row_per_acquisition(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, evaluation: Any
) -> None:
    from superres import evaluation as room

    seen = []
    monkeypatch.setattr(room, "evaluate", lambda config, out, *, progress: seen.append((config, out)) or evaluation)
    command = ["evaluate", model, "--manifest", "a.yaml", "--manifest", "b.yaml", "--out", tmp_path / "rep"]
    result = run(*command, "--set", "split=test")
    assert result.exit_code == 0
    config, out = seen[0]
    assert (config.manifests, config.split, config.model) == ((Path("a.yaml"), Path("b.yaml")), "test", model)
    assert out == tmp_path / "rep"
    for text in ("brain [red]", "liver", "29.50", "27.25", "0.900", "mean", str(tmp_path / "report.html")):
        assert text in result.stdout
    assert "bicubic +1.38 +0.25 to +2.50 0.5000 0.7500 2 of 2" in " ".join(result.stdout.split())
    assert "2 acquisitions: the smallest possible p is 0.5, so no difference can be called significant" in result.stdout
    tables = result.stdout.partition("2 acquisitions:")[0]
    assert max(len(line) for line in tables.splitlines()) <= 80
    assert "left out: constant\n" in result.stderr
    document = json.loads(run(*command, "--json").stdout)
    assert document["report"] == str(tmp_path / "report.html")
    assert [entry["id"] for entry in document["acquisitions"]] == ["brain [red]", "liver"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["m.safetensors", "--out", "report"], "give images with truth: --manifest em.yaml"),
        (["m.safetensors", "--manifest", "a.yaml"], "give a folder for the report: --out report"),
        (["--controls"], "give a model: superres evaluate --controls runs/em"),
    ],
)
def test_evaluate_says_what_is_missing(arguments: list[str], said: str) -> None:
    result = run("evaluate", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_evaluate_controls_need_no_images(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import superres.evaluation as room
    from superres.evaluation.controls import Control

    monkeypatch.setattr(room, "control", lambda path: (Control("blank", 0.5, 0.9), Control("dim", 1.2, 1.0)))
    shown = run("evaluate", "--controls", model).stdout
    assert "blank" in shown and "passed" in shown and "failed" in shown
    found = json.loads(run("evaluate", "--controls", model, "--json").stdout)["controls"]
    assert [one["passed"] for one in found] == [True, False]


def test_evaluate_without_a_model_scores_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: Any
) -> None:
    from superres import evaluation as room

    seen = []
    alone = dataclasses.replace(evaluation, gains={})
    monkeypatch.setattr(room, "evaluate", lambda config, out, *, progress: seen.append(config) or alone)
    result = run("evaluate", "--manifest", "a.yaml", "--out", tmp_path / "rep", "--set", "factor=[1,2,2]")
    assert result.exit_code == 0
    assert (seen[0].model, seen[0].factor) == (None, (1, 2, 2))
    assert "Baselines only: no model was scored" in result.stdout


def test_demo_shows_scores_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: Any) -> None:
    from superres import demo, inference

    seen = []

    def run_demo(out: Path, *, quick: bool, progress: Any) -> demo.DemoResult:
        seen.append((out, quick))
        return demo.DemoResult(
            model=out / "model.safetensors", store=out / "demo.ome.zarr", report=out / "report.html",
            picture=out / "demo.png", evaluation=evaluation, upscaled=None,  # type: ignore[arg-type]
        )  # fmt: skip

    def first_result(out: Path, *, progress: Any) -> inference.UpscaleSummary:
        return inference.UpscaleSummary(out / "first.ome.zarr", (1, 3, 4, 8, 8), (None, None, None), 1, 0, 2.25, 0, ())

    monkeypatch.setattr(demo, "first_result", first_result)
    monkeypatch.setattr(demo, "run_demo", run_demo)
    result = run("demo", "--quick", "--out", tmp_path / "demo")
    assert seen == [(tmp_path / "demo", True)]
    assert result.stdout.index("2.2 s") < result.stdout.index("29.50")
    for name in ("first.ome.zarr", "demo.ome.zarr", "demo.png", "report.html", "model.safetensors"):
        assert str(tmp_path / "demo" / name) in result.stdout
    assert "29.50" in result.stdout


# --- upscale ---------------------------------------------------------------------------------------------------------


def test_upscale_one_to_a_store(model: Path, image: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    store = tmp_path / "sharp.zarr"
    result = run("upscale", image, "--model", model, "--out", store, "--set", "tile=64", "--set", "channels=[0]")
    assert result.exit_code == 0
    ((source, out, config),) = upscaled
    assert (source, out, config.tile, config.channels, config.model) == (image, store, 64, (0,), model)
    for fact in (str(store), "T 1 C 1 Z 2 Y 36 X 28", "Z unknown, Y 0.025, X 0.025 µm", "1 of 3 blocks", "7 voxels"):
        assert fact in result.stdout
    assert "upscale 2/2 tiles" in result.stderr
    assert "upscale 2/2 tiles" not in result.stdout


def test_guard_and_trust_are_on_unless_switched_off(
    model: Path, image: Path, tmp_path: Path, upscaled: Upscaled
) -> None:
    command = ["upscale", image, "--model", model, "--out", tmp_path]
    run(*command)
    run(*command, "--guard", "off", "--trust", "off")
    run(*command, "--set", "guard=off")
    assert [(config.guard, config.trust) for _, _, config in upscaled] == [(True, True), (False, False), (False, True)]
    assert run(*command, "--guard", "maybe").exit_code == 2


def test_upscale_one_into_a_folder(model: Path, image: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    run("upscale", image, "--model", model, "--out", tmp_path)
    assert upscaled[0][1] == tmp_path / "cell.ome.zarr"


def test_upscale_json_has_one_shape(model: Path, image: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    single = json.loads(run("upscale", image, "--model", model, "--out", tmp_path / "o.zarr", "--json").stdout)
    assert single["failed"] == []
    assert single["written"][0]["input"] == str(image)
    assert single["written"][0]["path"] == str(tmp_path / "o.zarr")
    assert single["written"][0]["voxel_size"] == [None, 0.025, 0.025]
    result = run("upscale", image, "bad.tif", "--model", model, "--out", tmp_path / "many", "--json")
    assert result.exit_code == 1
    both = json.loads(result.stdout)
    assert both["written"][0].keys() == single["written"][0].keys()
    assert both["failed"][0]["input"] == "bad.tif"


def test_a_failing_single_input_exits_with_2(model: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    result = run("upscale", "bad.tif", "--model", model, "--out", tmp_path / "o.zarr")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: bad.tif: 3 axes found")


def test_a_batch_outlives_its_failures(model: Path, image: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    other = image.with_name("z.tif")
    result = run("upscale", "bad.tif", image, "bug.tif", "gone.tif", other, "--model", model, "--out", tmp_path / "o")
    assert result.exit_code == 1
    assert [call[0] for call in upscaled] == [image, other]
    assert [call[1] for call in upscaled] == [tmp_path / "o" / "cell.ome.zarr", tmp_path / "o" / "z.ome.zarr"]
    assert "3 of 5 inputs failed; the others are complete." in result.stderr
    assert "bad.tif: 3 axes found" in result.stderr
    assert "gone.tif: no such file" in result.stderr
    assert "bug.tif: ZeroDivisionError: a bug (a bug of superres; please report it)" in result.stderr
    assert "Traceback" in result.stderr
    assert "batch 100 %" in result.stderr


def test_a_folder_is_a_batch_of_its_images(model: Path, tmp_path: Path, upscaled: Upscaled) -> None:
    folder = tmp_path / "acquisitions"
    (folder / "b.ome.zarr").mkdir(parents=True)
    for name in ("c.TIF", "a.ome.tiff", "notes.txt", ".DS_Store"):
        (folder / name).touch()
    result = run("upscale", folder, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert [call[1].name for call in upscaled] == ["a.ome.zarr", "b.ome.zarr", "c.ome.zarr"]


@pytest.mark.parametrize("marker", ["zarr.json", ".zgroup", ".zarray"])
def test_a_store_is_one_input_whatever_its_name(model: Path, tmp_path: Path, upscaled: Upscaled, marker: str) -> None:
    source = tmp_path / "store"
    source.mkdir()
    (source / marker).touch()
    run("upscale", source, "--model", model, "--out", tmp_path / "o.zarr")
    assert upscaled[0][:2] == (source, tmp_path / "o.zarr")


@pytest.mark.parametrize(
    ("inputs", "out", "says"),
    [
        (["a.tif"], "result", "ends with .zarr, or an existing folder; for example --out result.ome.zarr"),
        (["a.tif", "b.tif"], "o.zarr", "several inputs need a folder"),
        (["x/a.tif", "y/a.ome.tif"], "out", "would be written to the same store as"),
        (["a.zarr"], "a.zarr", "is also where the output would go"),
        (["empty"], "out", "holds no image"),
    ],
)
def test_outputs_that_make_no_sense_are_refused_first(
    inputs: list[str], out: str, says: str, model: Path, tmp_path: Path, upscaled: Upscaled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = run("upscale", *inputs, "--model", model, "--out", out)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not upscaled
    assert sorted(tmp_path.rglob("*")) == before


def test_upscale_for_real(tmp_path: Path, image: Path) -> None:
    from superres.config import IntensityRule
    from superres.nets import Architecture, UNet
    from superres.volumes import open_volume

    architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
    reach, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="untrained", architecture=architecture.to_json(), factor=(1, 2, 2), channels=1,
        receptive_radius=(0, reach, reach), stride=(1, stride, stride),
        intensity=IntensityRule(average=1).model_dump(mode="json"),
    )  # fmt: skip
    weights = {name: value.numpy() for name, value in UNet(architecture).state_dict().items()}
    save_model_file(tmp_path / "m.safetensors", header, weights)
    arguments = ["upscale", image, "--model", tmp_path / "m.safetensors", "--out", tmp_path / "o.ome.zarr", "--json"]
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["written"][0]["shape"] == [1, 1, 2, 18, 14]
    assert open_volume(tmp_path / "o.ome.zarr").shape == (1, 1, 2, 18, 14)
    again = json.loads(run(*arguments).stdout)["written"][0]
    assert again["units_done_before"] == again["units"]
