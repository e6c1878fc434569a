"""The whole evaluation: from manifests on disk to scores and report."""

from __future__ import annotations

import dataclasses
import hashlib
import html.parser
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from skimage import data
from tifffile import imwrite

from superres.config import load_config
from superres.errors import Cancelled, ConfigError, InputError
from superres.evaluation import MODEL, Evaluation, Scores, evaluate, load_evaluation, protocol
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.results import HEADLINES, evaluation_to_json
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.upsampling import upsample
from superres.modelfile import ModelHeader, save_model_file
from superres.progress import Progress

DEGRADE: list[dict[str, Any]] = [
    {"blur": {"sigma": 1.0}},
    {"downsample": "binning"},
    {"poisson": {"photons": 400}},
    {"read_noise": {"sd": 0.01}},
]
Image = NDArray[Any]


def write_manifest(folder: Path, *entries: dict[str, Any], name: str = "set") -> Path:
    """Write images and their manifest; an entry holds arrays under high and low, ZYX or YX."""
    listed = []
    for entry in entries:
        files: dict[str, list[dict[str, str]]] = {"high": [], "low": []}
        for kind, images in files.items():
            for i, image in enumerate(entry.get(kind, ())):
                path = folder / f"{entry['id']}_{kind}_{i}.tif"
                imwrite(path, image, metadata={"axes": "ZYX"[-image.ndim :]})
                images.append({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
        axes = "ZYX"[-entry["high"][0].ndim :]
        listed.append({"split": "val", "axes": axes} | entry | {key: value for key, value in files.items() if value})
    path = folder / f"{name}.yaml"
    content = {"name": name, "description": "d", "licence": "CC0", "credit": "nobody", "source": "here"}
    path.write_text(yaml.safe_dump(content | {"acquisitions": listed}), encoding="utf-8")
    return path


def write_model(folder: Path, *, factor: tuple[int, int, int] = (1, 4, 4), **header: Any) -> Path:
    defaults: dict[str, Any] = {
        "name": "sharpener",
        "architecture": {},
        "factor": factor,
        "channels": 1,
        "receptive_radius": (0, 4, 4),
        "stride": (1, 1, 1),
        "intensity": {},
        "degradation": DEGRADE,
    }
    save_model_file(folder / "model.safetensors", ModelHeader(**defaults | header), {"w": np.zeros(1, np.float32)})
    return folder / "model.safetensors"


class Restorer:
    """Stands for a predictor."""

    def __init__(self, restore: Callable[[Image], Image]) -> None:
        self.restore = restore
        self.header = SimpleNamespace(factor=(1, 4, 4))

    def examine(self, image: Image) -> tuple[Image, Image]:
        """Without its guard it overshoots, and the guard takes a quarter of the left half back."""
        weight = np.ones(image.shape, np.float32)
        weight[..., : image.shape[-1] // 2] = 0.25
        return 1.1 * self.restore(image), weight


def bicubic_unsharp(low: Image) -> Image:
    high = upsample(low, (1, 4, 4), how="bicubic")
    return (high + 0.3 * (high - gaussian_filter(high, (0, 0, 2, 2)))).astype(np.float32)


@pytest.fixture
def use_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Image], Image]], None]:
    def use(restore: Callable[[Image], Image]) -> None:
        monkeypatch.setattr(protocol, "load_model", lambda path, device: Restorer(restore))

    return use


CELL = data.cell()[200:456, 200:456]
BRICK = data.brick()[:256, :200]
CAMERA = data.camera()[100:357, 130:388]  # not a multiple of 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_manifest(
        folder,
        {"id": "cell", "high": [CELL], "voxel_size": [None, 0.17, 0.17]},
        {"id": "walls", "high": [BRICK, BRICK[::-1, ::-1]], "grey_range": [0, 255]},
        {"id": "camera", "high": [CAMERA.astype(np.uint16) * 40]},
        {"id": "training-only", "high": [data.gravel()[:64, :64]], "split": "train"},
    )
    write_model(folder)
    return folder


def config(folder: Path, **settings: Any) -> EvaluateConfig:
    defaults = {"manifests": [folder / "set.yaml"], "baselines": ["nearest", "bicubic"]}
    return EvaluateConfig.model_validate(defaults | settings)


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    """Return one evaluation with everything in it, which several tests look at."""
    baselines = ["nearest", "bicubic", "lanczos", "richardson-lucy"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "load_model", lambda path, device: Restorer(bicubic_unsharp))
        return evaluate(config(folder, model=folder / "model.safetensors", baselines=baselines), folder / "out")


class Reader(html.parser.HTMLParser):
    """Collects text and addresses, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "path", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_is_whole_and_refers_to_nothing_outside(evaluation: Evaluation) -> None:
    content = evaluation.report.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(content)
    reader.close()
    assert reader.open == []
    for name in ("cell", "walls", "camera", *evaluation.methods, "Conventions", "micro"):
        assert name.replace("micro", "µm") in reader.text
    assert "training-only" not in reader.text.split("Conventions")[0]
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"https?://|@import|url\(", content)
    for sha256 in (evaluation.conventions["model"]["sha256"], evaluation.conventions["manifests"][0]["sha256"]):
        assert sha256 in reader.text


def test_every_slider_finds_its_pictures(evaluation: Evaluation) -> None:
    content = evaluation.report.read_text(encoding="utf-8")
    pictures = set(re.findall(r'<img [^>]*id="([^"]+)"', content))
    sliders = re.findall(r'<div class="compare" data-key="(\w+)".*?</div></div>', content, re.DOTALL)
    assert sliders.count("a1") + sliders.count("a0") + sliders.count("a2") == len(sliders) == 4
    options = set(re.findall(r"<option[^>]*>([^<]+)</option>", content))
    assert {"bicubic", "superres", "truth", "low"} <= options
    assert {f"{key}-{name}" for key in sliders for name in options} <= pictures


def test_maps_show_what_is_wrong(evaluation: Evaluation) -> None:
    """A net that sharpens the noise leaves its trace where the recording is compared with the degraded prediction."""
    content = evaluation.report.read_text(encoding="utf-8")
    shown = len(evaluation.acquisitions)
    assert content.count('alt="superres: error"') == content.count('alt="superres: recording"') == shown
    assert content.count('alt="truth: recording"') == shown
    assert 'alt="truth: error"' not in content


def test_recordings_without_structure_are_in_the_report(evaluation: Evaluation) -> None:
    """Sharpened interpolation makes more of noise than interpolation does."""
    assert len(evaluation.controls) == 3
    assert not any(control.is_passed for control in evaluation.controls)
    assert "It shows more than was recorded" in evaluation.report.read_text(encoding="utf-8")
    assert "| blank |" in evaluation.data.with_suffix(".md").read_text(encoding="utf-8")


def test_the_command_makes_the_same_report(folder: Path, evaluation: Evaluation) -> None:
    words = shlex.split(evaluation.conventions["command"])
    assert words[:2] == ["superres", "evaluate"]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    again = load_config(
        EvaluateConfig, None, settings, model=Path(words[2]), manifests=(words[words.index("--manifest") + 1],)
    )
    baselines = ["nearest", "bicubic", "lanczos", "richardson-lucy"]
    assert again == config(folder, model=folder / "model.safetensors", baselines=baselines)


def test_json_comes_back_equal(evaluation: Evaluation) -> None:
    loaded = load_evaluation(evaluation.data)
    assert evaluation_to_json(loaded) == evaluation_to_json(evaluation)
    content = json.loads(evaluation.data.read_text(encoding="utf-8"))
    assert content["conventions"]["degradation"][1] == {"downsample": "binning"}
    assert content["conventions"]["versions"]["scikit-image"]


def test_methods_acquisitions_and_gains(evaluation: Evaluation) -> None:
    assert evaluation.methods == ("nearest", "bicubic", "lanczos", "richardson-lucy", MODEL)
    assert [a.id for a in evaluation.acquisitions] == ["cell", "walls", "camera"]
    assert [len(a.planes) for a in evaluation.acquisitions] == [1, 2, 1]
    # The training image is too small to tune on, so that the scored ones had to be used.
    assert len(evaluation.warnings) == 1
    assert evaluation.warnings[0].startswith("richardson-lucy: tuned on the images that are scored")
    expected = np.mean([a.scores[MODEL].psnr - a.scores["bicubic"].psnr for a in evaluation.acquisitions])
    assert evaluation.gains["bicubic"].psnr.interval.mean == pytest.approx(expected)
    tuned = evaluation.conventions["tuned"]["richardson-lucy"]
    assert tuned["values"]["sigma"] > 0 and tuned["values"]["iterations"] >= 1
    assert tuned["grid"]["sigma"] == (0, 4, 10) and tuned["at_edge"] == ()
    tuned_on = evaluation.conventions["tuned_on"]
    assert tuned_on["acquisitions"] == ["cell", "walls", "camera"] and tuned_on["windows"] == 4
    assert tuned_on["same_as_scored"] and tuned_on["left_out"][0].startswith("training-only: ")
    assert set(evaluation.conventions["seconds"]) == set(evaluation.methods)
    assert "flattering" in evaluation.report.read_text(encoding="utf-8")


def test_every_figure_has_its_convention(evaluation: Evaluation) -> None:
    defined = {name for names in evaluation.conventions["definitions"] for name in names.split(", ")}
    assert {item.name for item in dataclasses.fields(Scores)} <= defined


def test_one_micro_ssim_factor_per_method_is_stated(evaluation: Evaluation) -> None:
    factors = evaluation.conventions["micro_ssim_factors"]
    assert list(factors) == list(evaluation.methods)
    assert all(0.5 < factor < 2 for factor in factors.values())
    for acquisition in evaluation.acquisitions:
        assert all(0 < scores.micro_ssim < 1 for scores in acquisition.scores.values())


def test_resolution_is_given_in_micrometre_and_with_its_curve(evaluation: Evaluation) -> None:
    cell, walls, _ = evaluation.acquisitions
    for method, scores in cell.scores.items():
        assert cell.resolution_um[method] == pytest.approx(0.17 * scores.resolution)
        curve = np.array(cell.correlation[method])
        assert len(curve) == 51 and curve[2] > 0.9
        assert np.interp(1 / scores.resolution, np.arange(51) / 100, curve) == pytest.approx(0.5, abs=0.15)
    assert np.isnan(walls.resolution_um["bicubic"])


def test_verdict_and_p_values_are_in_both_reports(evaluation: Evaluation) -> None:
    gain = evaluation.gains["bicubic"]
    assert [gain.of(metric).interval.n for metric in HEADLINES] == [3] * 5
    assert gain.psnr.p >= 0.25
    assert gain.psnr.p_holm == pytest.approx(1, abs=0)
    assert all(math.isnan(gain.of(metric).p) for metric in HEADLINES if metric != "psnr")
    sentence = "3 acquisitions: the smallest possible p is 0.25, so no difference can be called significant"
    assert sentence in evaluation.report.read_text(encoding="utf-8")
    content = json.loads(evaluation.data.read_text(encoding="utf-8"))
    assert content["verdict"][0].startswith(sentence)
    assert content["gains"]["bicubic"]["psnr"]["p_holm"] == gain.psnr.p_holm
    assert content["gains"]["bicubic"]["resolution"]["p_holm"] == "nan"
    text = evaluation.report.read_text(encoding="utf-8")
    assert text.count("p (Holm)") == 1
    assert text.count("(described, not tested)") == 4


def test_the_guard_is_shown_and_what_it_costs(evaluation: Evaluation) -> None:
    html, markdown = (evaluation.report.with_suffix(suffix).read_text("utf-8") for suffix in (".html", ".md"))
    assert html.count('alt="superres: guard"') == len(evaluation.acquisitions)
    for acquisition in evaluation.acquisitions:
        guard = acquisition.guard
        assert guard is not None
        assert guard.kept == pytest.approx(0.625, abs=0.02)
        assert guard.damped == pytest.approx(0.5, abs=0.03)
        psnr = acquisition.scores[MODEL].psnr
        assert guard.unguarded.psnr < psnr
        assert 0 < guard.unguarded.micro_ssim < 1
        assert f"PSNR with it {psnr:.2f} dB, without it {guard.unguarded.psnr:.2f} dB" in html
        assert f"| {acquisition.id} | {psnr:.2f} | {guard.unguarded.psnr:.2f} |" in markdown
    assert "The guard keeps 62 % of what the net adds" in html
    assert html.count("superres without guard") == 1 + len(evaluation.acquisitions)


def test_agreement_with_the_recording_is_given_in_figures(evaluation: Evaluation) -> None:
    for acquisition in evaluation.acquisitions:
        assert acquisition.agreement["truth"].chi2 == pytest.approx(1, abs=0.15)
        assert acquisition.agreement["truth"].largest < 6
        assert list(acquisition.agreement) == ["bicubic", "richardson-lucy", MODEL, "truth"]
    # Interpolation of a smooth image goes through the recording, noise and all.
    assert evaluation.acquisitions[0].agreement["bicubic"].chi2 < 0.5


def test_figures_that_small_planes_cannot_have_are_said_in_words(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"id": "small", "high": [CELL[:160, :160]]})
    found = evaluate(config(tmp_path, factor=[1, 4, 4], degrade=DEGRADE), tmp_path / "out")
    assert found.acquisitions[0].without_value == {"ms_ssim": "below 176 voxels"}
    html, csv, markdown, content = (
        found.report.with_suffix(suffix).read_text("utf-8") for suffix in (".html", ".csv", ".md", ".json")
    )
    assert "<td>none (below 176 voxels)</td>" in html
    assert csv.count(",ms_ssim: below 176 voxels; resolution_um: voxel size unknown") == 2
    assert ",," not in csv
    assert "- small: no ms_ssim (planes below 176 voxels a side)" in markdown
    assert "|  |" not in markdown
    assert json.loads(content)["acquisitions"][0]["without_value"] == {"ms_ssim": "below 176 voxels"}


def test_a_model_on_another_grey_scale_is_pointed_out(
    folder: Path, tmp_path: Path, use_model: Callable[[Callable[[Image], Image]], None]
) -> None:
    use_model(lambda low: 0.1 * upsample(low, (1, 4, 4), how="bicubic").astype(np.float32))
    found = evaluate(config(folder, model=folder / "model.safetensors"), tmp_path)
    assert all("another grey scale" in line for line in found.warnings) and len(found.warnings) == 3
    for acquisition in found.acquisitions:
        model, bicubic = acquisition.scores[MODEL], acquisition.scores["bicubic"]
        assert model.si_psnr == pytest.approx(bicubic.si_psnr, abs=0.01)
        assert model.micro_ssim == pytest.approx(bicubic.micro_ssim, abs=1e-4)
        assert model.psnr < bicubic.psnr - 5


def test_a_truth_too_noisy_to_tell_methods_apart_is_pointed_out(tmp_path: Path) -> None:
    smooth = gaussian_filter(CAMERA[:256, :256].astype(np.float64), 4)
    noisy = (smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)).astype(np.float32)
    write_manifest(tmp_path, {"id": "noisy", "high": [noisy]}, {"id": "clean", "high": [CELL]})
    found = evaluate(config(tmp_path, factor=[1, 4, 4], degrade=DEGRADE), tmp_path / "out")
    assert len(found.warnings) == 1 and found.warnings[0].startswith("noisy: noise in truth alone limits PSNR to about")
    noisy_result, clean = found.acquisitions
    assert noisy_result.psnr_ceiling == pytest.approx(20 * np.log10(noisy_result.data_range[0] / 20), abs=0.5)
    assert (noisy_result.dtype, clean.dtype) == ("float32", "uint8")


def test_unregistered_pairs_are_pointed_out(tmp_path: Path) -> None:
    smooth = gaussian_filter(CAMERA[:256, :256].astype(np.float32), 1.5)
    low = smooth.reshape(128, 2, 128, 2).mean(axis=(1, 3))
    write_manifest(tmp_path, {"id": "pair", "high": [np.roll(smooth, 1, axis=0)], "low": [low]})
    found = evaluate(config(tmp_path, factor=[1, 2, 2], baselines=["bicubic"]), tmp_path / "out")
    assert len(found.warnings) == 1 and "high lies Y -1.00, X +0.00 voxels off low" in found.warnings[0]
    scores = found.acquisitions[0].scores["bicubic"]
    assert scores.psnr_shifted > scores.psnr + 5


def test_range_is_stated_and_from_the_manifest_where_it_is_given(evaluation: Evaluation) -> None:
    cell, walls, camera = evaluation.acquisitions
    assert walls.data_range == (255.0,) and "manifest" in walls.data_range_from
    assert camera.shape == (256, 256)
    truth = inner(CAMERA[:256, :256].astype(float) * 40, (32, 32))
    assert camera.data_range == (float(truth.max() - truth.min()),)
    assert cell.data_range_from.startswith("max - min of truth")


def test_scores_do_not_depend_on_the_grey_scale(evaluation: Evaluation, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_manifest(other, {"id": "cell", "high": [CELL.astype(np.float32) * 37]})
    settings = config(other, factor=[1, 4, 4], degrade=DEGRADE)
    found = evaluate(settings, other / "out").acquisitions[0].scores["bicubic"]
    expected = evaluation.acquisitions[0].scores["bicubic"]
    assert found.psnr == pytest.approx(expected.psnr, abs=0.01)
    assert found.ssim == pytest.approx(expected.ssim, abs=0.001)


def test_same_seed_same_figures(folder: Path) -> None:
    settings = {"factor": [1, 4, 4], "degrade": DEGRADE}
    first, again, other = (evaluate(config(folder, **settings, seed=seed), folder / "seeds") for seed in (0, 0, 1))
    # Text, because figures without a value are NaN, which equals nothing.
    assert repr(first.acquisitions) == repr(again.acquisitions)
    assert repr(first.acquisitions) != repr(other.acquisitions)


def test_progress_reaches_the_end_and_cancels(folder: Path) -> None:
    settings = config(folder, factor=[1, 4, 4], degrade=DEGRADE)
    events: list[Progress] = []
    evaluate(settings, folder / "progress", progress=events.append)
    last = {event.stage: event for event in events}
    assert all(event.done == event.total for event in last.values())
    assert [e.done for e in events if e.stage == "evaluate"] == sorted(e.done for e in events if e.stage == "evaluate")

    def cancel(event: Progress) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        evaluate(settings, folder / "cancelled", progress=cancel)
    assert not (folder / "cancelled").exists()


def test_baselines_alone_need_factor_and_degradation(folder: Path) -> None:
    with pytest.raises(ConfigError, match="factor"):
        evaluate(config(folder), folder / "nothing")
    with pytest.raises(ConfigError, match="degrade"):
        evaluate(config(folder, factor=[1, 4, 4]), folder / "nothing")
    with pytest.raises(ConfigError, match="downsample"):
        evaluate(config(folder, factor=[1, 4, 4], degrade=[{"blur": {"sigma": 1}}]), folder / "nothing")
    assert not (folder / "nothing").exists()
    found = evaluate(config(folder, factor=[1, 4, 4], degrade=DEGRADE, baselines=["nearest"]), folder / "alone")
    assert found.methods == ("nearest", "bicubic")
    assert found.gains == {}


def test_factor_must_be_the_models(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[1, 4, 4\], but factor is \[1, 2, 2\]"):
        evaluate(config(folder, model=folder / "model.safetensors", factor=[1, 2, 2]), folder / "nothing")


def test_empty_split_says_which_exist(folder: Path) -> None:
    with pytest.raises(InputError, match="no acquisition in split 'test'; found train, val"):
        evaluate(config(folder, factor=[1, 4, 4], degrade=DEGRADE, split="test"), folder / "nothing")


def test_unusable_images_are_named_and_left_out(
    tmp_path: Path, use_model: Callable[[Callable[[Image], Image]], None]
) -> None:
    holed = BRICK.astype(np.float32)
    holed[100, 100] = np.nan
    write_manifest(
        tmp_path,
        {"id": "good", "high": [BRICK]},
        {"id": "half", "high": [np.stack([CELL, np.full_like(CELL, 9)])]},
        {"id": "constant", "high": [np.full((128, 128), 7, np.uint8)]},
        {"id": "holed", "high": [holed]},
        {"id": "tiny", "high": [CELL[:60, :60]]},
        {"id": "frame", "high": [np.pad(np.full((96, 96), 50, np.uint8), 16)]},
    )
    use_model(lambda low: np.full_like(upsample(low, (1, 4, 4), how="nearest"), np.nan))
    found = evaluate(config(tmp_path, model=write_model(tmp_path)), tmp_path / "out")
    assert [a.id for a in found.acquisitions] == ["good", "half"]
    assert "constant (7)" in found.skipped["constant"]
    assert "1 NaN" in found.skipped["holed"]
    assert "crop=0" in found.skipped["tiny"]
    assert "scored part of truth channel 0 is constant (50)" in found.skipped["frame"]
    text = "\n".join(found.warnings)
    assert "half: left out half_high_0.tif, z 1: truth channel 0 is constant (9)" in text
    assert "good: superres gave NaN or infinite values on 1 of 1 planes" in text
    content = found.report.read_text(encoding="utf-8")
    assert all(name in content for name in ("constant", "holed", "tiny", "no value"))


def test_nothing_to_score_is_a_report_too(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"id": "constant", "high": [np.full((128, 128), 7, np.uint8)]})
    found = evaluate(config(tmp_path, factor=[1, 4, 4], degrade=DEGRADE), tmp_path / "out")
    assert found.acquisitions == () and found.mean == {}
    assert "constant" in found.report.read_text(encoding="utf-8")
    assert load_evaluation(found.data).skipped == found.skipped


def test_images_that_the_model_was_trained_on_are_pointed_out(
    tmp_path: Path, use_model: Callable[[Callable[[Image], Image]], None]
) -> None:
    write_manifest(tmp_path, {"id": "seen", "high": [CELL]}, {"id": "new", "high": [BRICK]})
    training = {"manifests": [{"name": "set", "sha256": "0"}], "acquisitions": [{"id": "seen"}]}
    use_model(bicubic_unsharp)
    found = evaluate(config(tmp_path, model=write_model(tmp_path, training=training)), tmp_path / "out")
    assert len(found.warnings) == 1 and found.warnings[0].startswith("seen: the model was trained on")


def test_real_pairs_are_scored_on_the_scale_of_low(
    tmp_path: Path, use_model: Callable[[Callable[[Image], Image]], None]
) -> None:
    high = np.stack([BRICK[:160, :160], BRICK[160:0:-1, :160]])
    noise = np.random.default_rng(0).normal(0, 500, high.shape)
    low = (20.0 * high + 3000 + noise).astype(np.float32)
    write_manifest(tmp_path, {"id": "pair", "high": [high], "low": [low], "grey_range": [0, 255]})
    model = write_model(tmp_path, factor=(1, 1, 1), degradation=[])
    use_model(lambda image: gaussian_filter(image, (0, 0, 1, 1)))
    found = evaluate(config(tmp_path, model=model, baselines=["richardson-lucy"]), tmp_path / "out")
    assert found.methods == ("input", "gaussian", "richardson-lucy", MODEL)
    assert found.reference == "input"
    pair = found.acquisitions[0]
    assert pair.data_range[0] == pytest.approx(20.0 * np.ptp(high[:, 8:-8, 8:-8].astype(float)), rel=0.02)
    assert "grey scale of the low images" in pair.data_range_from
    truth = 20.0 * high + 3000
    by_hand = [
        psnr(inner(t, (8, 8)), inner(x, (8, 8)), data_range=pair.data_range[0]) for t, x in zip(truth, low, strict=True)
    ]
    assert pair.scores["input"].psnr == pytest.approx(np.mean(by_hand), abs=0.05)
    assert pair.scores["gaussian"].psnr > pair.scores["input"].psnr
    assert pair.scores[MODEL].slope == pytest.approx(pair.scores["gaussian"].slope, abs=0.2)
    assert found.conventions["degradation"] == []


def test_a_wrong_pair_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"id": "pair", "high": [CELL], "low": [CELL[:100, :100]]})
    with pytest.raises(InputError, match="at factor"):
        evaluate(config(tmp_path, factor=[1, 2, 2]), tmp_path / "out")


def test_the_factor_of_a_pair_is_named_where_another_was_given(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"id": "pair", "high": [CELL], "low": [CELL[:64, :128]]})
    with pytest.raises(InputError, match=r"but factor is \[1, 2, 2\]; give --set factor=\[1,4,2\]"):
        evaluate(config(tmp_path, factor=[1, 2, 2]), tmp_path / "out")


def test_whole_stacks_are_read_where_z_is_upscaled(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    high = gaussian_filter(random.normal(100, 40, (12, 96, 80)), (2, 2, 2)).astype(np.float32)
    low = high.reshape(6, 2, 48, 2, 40, 2).mean(axis=(1, 3, 5))
    write_manifest(tmp_path, {"id": "stack", "high": [high], "low": [low]})
    found = evaluate(config(tmp_path, factor=[2, 2, 2], planes=3), tmp_path / "out")
    stack = found.acquisitions[0]
    assert stack.planes == tuple(f"stack_high_0.tif, z {z}" for z in (1, 3, 5))
    assert stack.scores["bicubic"].psnr > stack.scores["nearest"].psnr + 3


def test_planes_that_are_only_context_do_not_change_the_scale(tmp_path: Path) -> None:
    """A blur along Z has the whole stack read; the input scores as it does without."""
    random = np.random.default_rng(0)
    high = gaussian_filter(random.normal(100, 40, (9, 64, 64)), (0, 2, 2)).astype(np.float32)
    low = gaussian_filter(high, (0, 1, 1)) + random.normal(0, 1, high.shape).astype(np.float32)
    low[::3] = 900 - 3 * low[::3]
    write_manifest(tmp_path, {"id": "stack", "high": [high], "low": [low], "voxel_size": [0.3, 0.1, 0.1]})
    settings: dict[str, Any] = {"factor": [1, 1, 1], "baselines": ["wiener"], "planes": 3}
    flat, deep = (
        evaluate(config(tmp_path, **settings, psf=psf), tmp_path / "out").acquisitions[0].scores["input"]
        for psf in (None, {"na": 0.8, "wavelength": 0.5, "immersion": 1.0})
    )
    assert deep.psnr == pytest.approx(flat.psnr, abs=1e-4) and flat.psnr > 20


def test_channels_have_their_own_range(tmp_path: Path) -> None:
    path = tmp_path / "two_high_0.tif"
    image = np.stack([CELL[:200, :200], BRICK[:200, :200]]).astype(np.float32)
    image[1] *= 10
    imwrite(path, image, metadata={"axes": "CYX"})
    entry = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    listed = [{"id": "two", "split": "val", "axes": "CYX", "high": [entry]}]
    content = {"name": "set", "description": "d", "licence": "l", "credit": "c", "source": "s", "acquisitions": listed}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    found = evaluate(config(tmp_path, factor=[1, 4, 4], degrade=DEGRADE), tmp_path / "out").acquisitions[0]
    assert found.channels == 2
    assert found.data_range[1] > 5 * found.data_range[0]


def test_baselines_are_tuned_on_another_split(tmp_path: Path) -> None:
    write_manifest(
        tmp_path,
        {"id": "kept", "high": [CELL], "split": "test"},
        {"id": "watched", "high": [BRICK], "split": "val"},
        {"id": "learned", "high": [CAMERA], "split": "train"},
    )
    settings = {"factor": [1, 4, 4], "degrade": DEGRADE, "baselines": ["nlm"], "crop": 4}
    for scored, used in (("test", "watched"), ("val", "learned"), ("train", "watched")):
        found = evaluate(config(tmp_path, **settings, split=scored), tmp_path / scored)
        assert found.conventions["tuned_on"]["acquisitions"] == [used]
        assert not found.conventions["tuned_on"]["same_as_scored"]
        assert found.warnings == ()


def test_test_images_are_not_looked_at_for_another_split(tmp_path: Path) -> None:
    entries = [{"id": "kept", "high": [CELL], "split": "test"}, {"id": "watched", "high": [BRICK], "split": "val"}]
    write_manifest(tmp_path, *entries)
    found = evaluate(config(tmp_path, factor=[1, 4, 4], degrade=DEGRADE, baselines=["nlm"]), tmp_path / "out")
    assert found.conventions["tuned_on"]["acquisitions"] == ["watched"]
    assert found.conventions["tuned_on"]["same_as_scored"] and "flattering" in found.warnings[0]


def test_pairs_are_not_tuned_on_made_images(tmp_path: Path) -> None:
    noisy = BRICK + np.random.default_rng(0).normal(0, 20, BRICK.shape).astype(np.float32)
    write_manifest(
        tmp_path,
        {"id": "made", "high": [CELL], "split": "train"},
        {"id": "torn", "high": [CELL], "low": [CELL[:100]], "split": "train"},
        {"id": "pair", "high": [BRICK], "low": [noisy]},
    )
    found = evaluate(config(tmp_path, factor=[1, 1, 1]), tmp_path / "out")
    assert found.conventions["tuned_on"]["acquisitions"] == ["pair"]
    assert [line.split(":")[0] for line in found.conventions["tuned_on"]["left_out"]] == ["torn"]


def test_other_models_stand_beside_the_model(tmp_path: Path, use_model: Callable[..., None]) -> None:
    write_manifest(tmp_path, {"id": "cell", "high": [CELL]})
    long, short = ({"steps": n, "seconds": n, "config": {"model": {"preset": "S"}}} for n in (900, 90))
    trained = {"manifests": [{"name": "set"}], "acquisitions": [{"id": "cell"}]}
    for name, training in (("long", long), ("short", short | trained)):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name, training=training)
    use_model(bicubic_unsharp)
    settings = {"model": tmp_path / "long", "models": {"unet": tmp_path / "short", "twin": tmp_path / "long"}}
    found = evaluate(config(tmp_path, **settings, baselines=["nearest"]), tmp_path / "out")
    assert found.methods == ("nearest", "bicubic", "unet", "twin", MODEL)
    assert found.gains["unet"].psnr.interval.mean == 0
    assert found.conventions["rivals"]["unet"]["steps"] == 90
    budget, seen = found.warnings
    assert budget.startswith("unet had another budget than the model: net S, 90 steps, 90 s against net S, 900 steps")
    assert seen.startswith("cell: unet was trained on this acquisition")
    content = found.report.read_text(encoding="utf-8")
    assert "another budget" in content and "twin" in content


def test_a_model_of_another_factor_cannot_stand_beside(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path, factor=(1, 2, 2))
    with pytest.raises(ConfigError, match=r"unet upscales by \[1, 2, 2\], but factor is \[1, 4, 4\]"):
        evaluate(config(folder, factor=[1, 4, 4], degrade=DEGRADE, models={"unet": tmp_path}), tmp_path / "out")


def test_a_known_point_spread_function_is_used_in_voxels_of_each_image(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"id": "cell", "high": [CELL], "voxel_size": [None, 0.1, 0.1]})
    settings: dict[str, Any] = {"factor": [1, 2, 2], "degrade": [{"blur": {"sigma": 2}}, {"downsample": "binning"}]}
    settings |= {"baselines": ["wiener", "richardson-lucy"], "psf": {"na": 0.5, "wavelength": 0.5, "immersion": 1.0}}
    found = evaluate(config(tmp_path, **settings), tmp_path / "out")
    assert set(found.conventions["tuned"]["richardson-lucy"]["values"]) == {"iterations"}
    assert set(found.conventions["tuned"]["wiener"]["values"]) == {"balance"}
    assert "0.21, 0.21 (ZYX)" in found.conventions["psf"]
    scores = found.acquisitions[0].scores
    assert scores["richardson-lucy"].psnr > scores["bicubic"].psnr + 1
    assert scores["wiener"].psnr > scores["bicubic"].psnr + 1
    write_manifest(tmp_path, {"id": "cell", "high": [CELL]})
    with pytest.raises(ConfigError, match="voxel size along Y of an image is unknown"):
        evaluate(config(tmp_path, **settings), tmp_path / "out")


def test_unknown_baselines_are_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"unknown baseline 'cubic'; known are nearest, .*richardson-lucy"):
        config(tmp_path, baselines=["cubic"])
    with pytest.raises(ValidationError, match=r"models\.unet=runs/plain"):
        config(tmp_path, baselines=["unet"])
    assert config(tmp_path, baselines=["unet"], models={"unet": tmp_path}).baselines == ("unet",)
    with pytest.raises(ValidationError, match="'truth' cannot be the name of a model"):
        config(tmp_path, models={"truth": tmp_path})


@pytest.mark.parametrize(
    "psf",
    [
        {},
        {"na": 1.2},
        {"na": 1.2, "wavelength": 520},
        {"na": 1.4, "wavelength": 0.5, "immersion": 1.33},
        {"beads": "beads.tif", "na": 1.2, "wavelength": 0.5},
        {"beads": "beads.tif", "immersion": 1.33},
        {"na": 1.2, "wavelength": 0.5, "beads_voxel_size": [1, 1, 1]},
    ],
)
def test_half_a_point_spread_function_is_refused(tmp_path: Path, psf: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(tmp_path, psf=psf)
