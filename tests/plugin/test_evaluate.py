"""The Evaluate widget: table, report and browser; figures are those of the evaluation room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from superres.config import load_config
from superres.errors import InputError
from superres.evaluation import MODEL, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.plugin import evaluate_task
from superres.plugin.pair_manifest import Image
from superres.progress import silent
from superres.volumes.hyperstack import save_hyperstack

Files = dict[str, Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write a recording, its truth and a result, one channel of 64 x 80."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(64, 80)), 1.5)
    truth = (20_000 + 30_000 * noise).astype(np.uint16)
    low = truth.reshape(32, 2, 40, 2).mean((1, 3)).astype(np.uint16)
    result = truth + np.random.default_rng(1).integers(0, 400, truth.shape).astype(np.uint16)
    found = {}
    for name, image, size in (("low", low, 0.2), ("truth", truth, 0.1), ("result", result, 0.1)):
        found[name] = tmp_path / f"{name}.tif"
        save_hyperstack(found[name], image[None, None, None], voxel_size=(0.5, size, size))
    return found


@pytest.fixture
def told() -> Callable[[], list[str]]:
    """Return what the viewer told so far."""
    from napari.utils.notifications import notification_manager

    return lambda: [str(one.message) for one in notification_manager.records]


def asked(files: Files, out: Path) -> dict[str, Any]:
    images = [Image(str(files[name])) for name in ("result", "low", "truth")]
    settings = {"baselines": ["nearest", "bicubic"], "crop": 2}
    return evaluate_task.request(*images, out, settings=settings)


def test_figures_are_those_of_the_command(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "report"
    found = evaluate_task.run(asked(files, out), silent, lambda told: None)
    config = load_config(
        EvaluateConfig,
        None,
        manifests=(out / "manifest.yaml",),
        split="test",
        factor=(1, 2, 2),
        baselines=("nearest", "bicubic"),
        crop=2,
        result=files["result"],
    )
    expected = evaluate(config, tmp_path / "again")
    assert [row[0] for row in found["table"]] == list(expected.methods) == ["nearest", "bicubic", MODEL]
    for name, psnr, ssim, _ in found["table"]:
        assert (psnr, ssim) == (expected.mean[name].psnr, expected.mean[name].ssim)
    assert Path(found["report"]).is_file()


def test_sizes_that_do_not_go_together_are_refused(files: Files, tmp_path: Path) -> None:
    request = asked(files, tmp_path / "report") | {"low": Image(str(files["truth"])).to_json()}
    request["truth"] = Image(str(files["low"])).to_json()
    with pytest.raises(InputError, match="whole number of times"):
        evaluate_task.run(request, silent, lambda told: None)
    request["low"]["axes"] = "YX"
    request["truth"] = Image(str(files["truth"])).to_json()
    with pytest.raises(InputError, match="its axes are given"):
        evaluate_task.run(request, silent, lambda told: None)


@pytest.mark.napari
def test_a_result_is_evaluated_and_the_report_opened(
    viewer: Any, qtbot: Any, files: Files, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    from superres.plugin import evaluate as module
    from superres.plugin.evaluate import EvaluateWidget

    opened: list[str] = []
    monkeypatch.setattr(module.QDesktopServices, "openUrl", lambda url: bool(opened.append(url.toLocalFile())) or True)
    widget = EvaluateWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Evaluate", area="right")
    widget.run_button.click()
    assert "Choose a layer for result and input and truth" in told()[-1]
    for name in ("low", "result", "truth"):
        viewer.open(str(files[name]), plugin="superres")
    low, result, truth = (layer.name for layer in viewer.layers)
    widget.input.setCurrentText(low)
    widget.result.setCurrentText(result)
    widget.truth.setCurrentText(low)
    widget.run_button.click()
    assert "chosen as truth and as something else" in told()[-1]
    widget.truth.setCurrentText(truth)
    widget.run_button.click()
    qtbot.waitUntil(lambda: widget.report is not None, timeout=120_000)
    assert widget.report == files["result"].with_name("result.tif.evaluation") / "report.html"
    names = [widget.table.item(row, 0).text() for row in range(widget.table.rowCount())]
    assert "this result" in names and "bicubic" in names
    own = names.index("this result")
    assert float(widget.table.item(own, 1).text()) > float(widget.table.item(names.index("nearest"), 1).text())
    assert widget.table.item(own, 1).font().bold()
    widget.report_button.click()
    assert opened == [str(widget.report)]
