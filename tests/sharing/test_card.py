"""The card: written from evaluations, read back equal, complete or not in plain words, and of these very weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superres.errors import InputError, MissingFileError, ModelFileError
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.sharing.card import Card, Figures
from superres.sharing.completeness import complete_card, missing
from superres.sharing.describe import Description, describe
from superres.sharing.page import card_html, card_markdown, write_card

MakeModel = Callable[..., Path]
MakeReport = Callable[..., Path]
WORDS = Description(
    purpose="electron micrographs", not_for=("light",), licence="CC-BY-4.0", modality="electron", machine="2 cores"
)


@pytest.fixture
def model(tmp_path: Path, make_model: MakeModel) -> Path:
    return make_model(tmp_path / "em.safetensors")


def full(report: Path, **more: Any) -> Description:
    return dataclasses.replace(WORDS, evaluations=(report,), **more)


def test_a_card_is_made_of_an_evaluation_and_words(model: Path, make_report: MakeReport) -> None:
    before = load_model_file(model)
    made = describe(model, full(make_report(model)))
    after = load_model_file(model)
    assert (made.missing, made.objections) == ((), ())
    assert after.identity == before.identity
    assert dataclasses.replace(after.header, card={}) == before.header
    card = Card.of(after)
    assert card == made.card
    assert card is not None
    assert card.seconds == 60.0, "from the header"
    (trial,) = card.trials
    assert trial.name == "em, val"
    assert trial.acquisitions[1].figures["superres"] == Figures(30.5, 0.61, pytest.approx(100 / 30.5, abs=1e-5))
    assert trial.gains["bicubic"]["psnr"].mean == pytest.approx((3 + 5.5) / 2)
    assert trial.gains["bicubic"]["psnr"].low == pytest.approx(4.25 - 12.7062 * 1.25, abs=1e-3)  # t(0.975, 1) = 12.706
    assert card.pictures[0].file == "em.pictures/worst_em.png"
    assert (model.parent / card.pictures[0].file).is_file()
    assert complete_card(model)[1] == card
    assert str(model.parent) not in json.dumps(after.header.card), "no places of this machine"


def test_what_was_said_before_stays(model: Path, make_report: MakeReport) -> None:
    describe(model, full(make_report(model)))
    made = describe(model, Description(purpose="tissue"))
    assert (made.card.purpose, made.card.machine, len(made.card.trials)) == ("tissue", "2 cores", 1)
    assert made.missing == ()


def test_what_is_missing_is_said_in_plain_words(model: Path, make_report: MakeReport) -> None:
    assert missing(load_model_file(model))[0].startswith("it has no card: superres models describe FILE")
    lacking = describe(model, Description()).missing
    for words in (
        "what it is for (--for)",
        "not for",
        "licence",
        "machine",
        "results per acquisition",
        "pictures of where",
    ):
        assert any(words in line for line in lacking)
    report = make_report(model, psnr={"a": 28.0}, told={"tuned": {}, "rivals": {}})
    lacking = describe(model, full(report)).missing
    assert [line.partition(" (")[0] for line in lacking] == [
        "em, val: tuned Richardson-Lucy",
        "em, val: a plain U-Net",
        "an interval of the gain, which takes at least two acquisitions",
    ]
    with pytest.raises(ModelFileError, match=r"em.safetensors: cannot be passed on: em, val: tuned Richardson-Lucy"):
        complete_card(model)


def test_a_model_of_pairs_needs_no_controls(tmp_path: Path, make_model: MakeModel, make_report: MakeReport) -> None:
    for degradation, expected in (([], ()), ([{"poisson": {"photons": [1.0, 2.0]}}], ("negative controls",))):
        model = make_model(tmp_path / "pairs.safetensors", degradation=degradation)
        report = make_report(model)
        content = json.loads((report / "report.json").read_text())
        (report / "report.json").write_text(json.dumps(content | {"controls": []}))
        lacking = describe(model, full(report)).missing
        assert tuple(line.partition(" (")[0] for line in lacking) == expected


def test_other_weights_than_those_of_the_card(model: Path, make_report: MakeReport, make_model: MakeModel) -> None:
    describe(model, full(make_report(model)))
    file = load_model_file(model)
    other = load_model_file(make_model(model.with_name("other.safetensors"), seed=1))
    save_model_file(model, file.header, other.weights)
    (line,) = missing(load_model_file(model))
    assert f"its card speaks of other weights ({file.identity[:12]}) than the file holds" in line
    with pytest.raises(ModelFileError, match="cannot be passed on: its card speaks of other weights"):
        complete_card(model)
    assert describe(model, Description(purpose="new")).card.trials == (), "what was of other weights is gone"


def test_reports_of_something_else_are_refused(model: Path, make_report: MakeReport, make_model: MakeModel) -> None:
    other = make_model(model.with_name("other.safetensors"), seed=1)
    with pytest.raises(InputError, match=r"report.json: is of another model \(em-x4, .* than .*em.safetensors"):
        describe(model, full(make_report(other)))
    seen = make_report(model, warnings=("the model was trained on this acquisition: its figures say nothing",))
    with pytest.raises(InputError, match="the model was trained on a, b, which says nothing of new images"):
        describe(model, full(seen))
    for changes in ({"model": None}, {"is_result": True}):
        with pytest.raises(InputError, match="holds no figures of a model"):
            describe(model, full(make_report(model, told=changes)))
    with pytest.raises(MissingFileError, match=r"nowhere.*no such report"):
        describe(model, full(model.with_name("nowhere")))
    with pytest.raises(InputError, match="was not fine-tuned"):
        describe(model, full(make_report(model), before=(make_report(model),)))
    assert load_model_file(model).header.card == {}


def test_pictures_travel_and_are_held_to_their_hash(model: Path, make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(model)
    describe(model, full(report, pictures=((report / "worst.png", "charging"),)))
    out = tmp_path / "box" / "em-x4.safetensors"
    made = describe(model, Description(), out=out)
    assert {one.file for one in made.card.pictures} == {"em-x4.pictures/worst_em.png", "em-x4.pictures/worst.png"}
    assert made.missing == ()
    (out.parent / "em-x4.pictures" / "worst.png").write_bytes(b"other")
    (line,) = missing(load_model_file(out))
    assert line == "the picture em-x4.pictures/worst.png as it was (another file lies in its place)"
    shutil.rmtree(out.parent / "em-x4.pictures")
    assert len(missing(load_model_file(out))) == 2
    assert missing(load_model_file(model)) == ()
    with pytest.raises(InputError, match=r"report.json: no PNG file; give a PNG"):
        describe(model, Description(pictures=((report / "report.json", "x"),)))


@pytest.mark.parametrize("name", ["../../notes.png", "/etc/a.png", "a.pictures/../b.png", "a.pictures/.b.png", "a.png"])
def test_a_card_leads_to_no_other_files(model: Path, make_report: MakeReport, name: str) -> None:
    describe(model, full(make_report(model)))
    file = load_model_file(model)
    pictures = [{"file": name, "sha256": "0", "caption": ""}]
    save_model_file(
        model, dataclasses.replace(file.header, card={**file.header.card, "pictures": pictures}), file.weights
    )
    with pytest.raises(ModelFileError, match=r"its card is damaged or of another version \(a picture called"):
        Card.of(load_model_file(model))
    assert describe(model, full(make_report(model))).missing == (), "a damaged card is written anew"


def test_figures_that_are_none_are_refused(model: Path, make_report: MakeReport) -> None:
    describe(model, full(make_report(model)))
    file = load_model_file(model)
    for broken in ({"psnr": "high", "ssim": 1.0, "resolution": None}, {"psnr": 1.0}, 3):
        card = json.loads(json.dumps(file.header.card))
        card["trials"][0]["mean"]["superres"] = broken
        save_model_file(model, dataclasses.replace(file.header, card=card), file.weights)
        with pytest.raises(ModelFileError, match=r"em.safetensors: its card is damaged or of another version"):
            Card.of(load_model_file(model))


def test_a_fine_tuned_model_says_what_was_added_and_forgotten(
    tmp_path: Path, make_model: MakeModel, make_report: MakeReport, make_header: Callable[..., ModelHeader]
) -> None:
    parent = make_model(tmp_path / "parent.safetensors")
    file, origin = load_model_file(parent), make_header().training["acquisitions"][0]
    training = {
        "manifests": [{"name": "mine", "sha256": "3" * 64}],
        "acquisitions": [origin | {"id": "mine_1", "sha256": "4" * 64}],
        "steps": 20,
        "seconds": 9.0,
    }
    lineage = [{"name": "em-x4", "sha256": file.sha256, "identity": file.identity, "training": file.header.training}]
    child = make_model(tmp_path / "child.safetensors", seed=1, lineage=lineage, training=training, name="mine")
    new, old = (make_report(child, f"child_{name}", manifest=name, psnr=psnr)
                for name, psnr in (("mine", {"x": 31.0, "y": 32.0}), ("em", {"a": 27.5, "b": 30.0})))  # fmt: skip
    after = dataclasses.replace(WORDS, evaluations=(new, old))
    assert describe(child, after).missing == ("how the model that it descends from did on the same images (--before)",)
    describe(parent, WORDS)  # its bytes change, its identity does not
    was = tuple(make_report(parent, f"parent_{name}", manifest=name, psnr=psnr)
                for name, psnr in (("mine", {"x": 29.0, "y": 29.0}), ("em", {"a": 28.0, "b": 30.5})))  # fmt: skip
    assert describe(child, Description(before=was)).missing == ()
    text = card_markdown(load_model_file(child))
    assert "Added were mine_1." in text
    assert "1. em-x4, on em" in text
    assert "On the new images (before, after)\n\n| acquisition | PSNR (dB) |" in text
    assert "| x | 29.00, 31.00 (+2.00) |" in text
    assert "What it forgot: images like those of the model before it" in text
    assert "| a | 28.00, 27.50 (\N{MINUS SIGN}0.50) |" in text
    with pytest.raises(InputError, match=r"is of another model \(mine, .* than em-x4, which .* descends from"):
        describe(child, Description(before=(new,)))
    apart = make_report(parent, "apart", manifest="other")
    with pytest.raises(InputError, match="nothing in it was scored alike"):
        describe(child, Description(before=(apart,)))
    # Alike is what was used, whether the settings said it or it is that of the model.
    said = {"split": "val", "planes": 8, "crop": 8, "seed": 0, "degrade": [{"downsample": "binning"}]}
    explicit = make_report(parent, "explicit", manifest="mine", told={"settings": said})
    assert describe(child, Description(before=(explicit, was[1]))).missing == ()
    noisier = make_report(parent, "noisier", manifest="mine", told={"degradation": [{"downsample": "decimation"}]})
    with pytest.raises(InputError, match="nothing in it was scored alike"):
        describe(child, Description(before=(noisier,)))


def test_pages_show_all_of_it(model: Path, make_report: MakeReport, tmp_path: Path) -> None:
    describe(model, full(make_report(model), not_for=("<script>alert(1)</script> & other|factors",)))
    html, text = card_html(load_model_file(model)), card_markdown(load_model_file(model))
    for words in (
        "electron micrographs", "makes images 4 times finer along Y and X", "0.04 µm along Y and X",
        "binning, then poisson (photons 50 to 400)", "CC BY 4.0 (repo LICENSE)", "A. Person", "Results on em, val",
        "+4.25 (\N{MINUS SIGN}11.63 to +20.13)", "richardson-lucy", "passed",
        "60 s, on 2 cores", "smallest gain over bicubic",
    ):  # fmt: skip
        assert words in html
        assert words in text
    assert "<script>alert" not in html + text
    assert "![The acquisitions with" in text
    write_card(load_model_file(model), tmp_path / "docs" / "em.md")
    assert (tmp_path / "docs" / "em.pictures" / "worst_em.png").is_file()
    assert "data:image/png;base64," in html
    shutil.rmtree(model.with_suffix(".pictures"))
    assert "em.pictures/worst_em.png does not lie beside the model" in card_html(load_model_file(model))
