"""What a card shows, section by section; `superres.sharing.page` and the command line lay it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from superres.modelfile import FOR_DISPLAY, ModelFile, ModelHeader
from superres.progress import duration_text
from superres.sharing.card import Card, Figures, Gain, Picture, Trial
from superres.sharing.completeness import missing
from superres.sharing.licences import objections
from superres.sharing.wording import factor_text, range_text, step_text

_MODEL = "superres"
_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "resolution": "finest right period (voxels, FRC)"}
_DIGITS = {"psnr": 2, "ssim": 3, "resolution": 2}
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Table:
    """Words above a table, its head, and its rows; the first column is of names, the others of figures or words."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title, paragraphs, a list, tables and pictures; what is empty is left out."""

    title: str
    text: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


def sections_of(file: ModelFile) -> tuple[Section, ...]:
    """Return all that a card shows of a model; a file without a card shows what its header says.

    Raises
    ------
    ModelFileError
        When the card is damaged.
    """
    card = Card.of(file) or Card(file.identity)
    found = [
        _purpose(card, file.header),
        _facts(card, file),
        _data(file.header),
        *(_trial(trial) for trial in card.trials),
        _controls(card),
        Section("Where it fails", pictures=card.pictures),
        _descent(card, file.header),
        _lacking(file),
    ]
    return tuple(one for one in found if one.text or one.items or one.tables or one.pictures)


def _purpose(card: Card, header: ModelHeader) -> Section:
    purpose = card.purpose or "Nobody said what it is for."
    display = (f"It is {FOR_DISPLAY}.",) if header.display else ()
    return Section("What it is for", (purpose, *display), tuple(f"Not for {text}" for text in card.not_for))


def _facts(card: Card, file: ModelFile) -> Section:
    header = file.header
    parameters = sum(tensor.size for tensor in file.weights.values())
    sizes = range_text(header.voxel_range)
    steps = ", then ".join(step_text(step) for step in header.degradation)
    training = header.training
    cost = ", ".join(
        part
        for part in (
            f"{training['steps']} steps" if "steps" in training else "",
            duration_text(card.seconds) if card.seconds else "",
            f"on {card.machine}" if card.machine else "",
        )
        if part
    )
    facts = {
        "It": factor_text(header.factor),
        "Recordings that it is for": f"voxels of {sizes}" if sizes else "voxel size not told",
        "How they come about": steps or "recorded: it learnt from real pairs",
        "Net": f"{parameters / 1e6:.3g} million parameters",
        "Intervals": str(header.calibration.get("claim", "")),
        "Licence of the model": card.licence,
        "Cost of training": cost,
        "Identity": file.identity,
    }
    return Section("What it is", items=tuple(f"{name}: {value}" for name, value in facts.items() if value))


def _data(header: ModelHeader) -> Section:
    """List licences and credits, with the acquisitions that they are of."""
    rows: dict[tuple[str, str], list[str]] = {}
    for training in header.trainings:
        for entry in training.get("acquisitions", ()):
            key = str(entry.get("licence") or "not stated"), str(entry.get("credit") or "not stated")
            rows.setdefault(key, []).append(str(entry.get("id", "")))
    table = Table(
        "",
        ("licence", "credit", "acquisitions"),
        tuple((*key, ", ".join(dict.fromkeys(ids))) for key, ids in rows.items()),
    )
    manifests = [one["name"] for training in header.trainings for one in training.get("manifests", ())]
    text = f"From {', '.join(dict.fromkeys(manifests))}." if manifests else "Its header does not tell."
    return Section("What it learnt from", (text,), tables=(table,) if rows else ())


def _trial(trial: Trial) -> Section:
    n = len(trial.acquisitions)
    methods = [name for name in trial.mean if name != _MODEL]
    order = [*methods, _MODEL]
    tables = tuple(_scores(trial, figure, order) for figure in _TITLES)
    gains = _gain_table("What it gains over each (positive favours it; 95 % interval over acquisitions)", trial)
    text = f"{n} acquisition{'s' if n > 1 else ''} that it was not trained on; evaluated {trial.created[:10]}."
    return Section(f"Results on {trial.name}", (text,), tables=(*tables, gains))


def _scores(trial: Trial, figure: str, order: Sequence[str]) -> Table:
    rows = [(one.id, *(_figure(one.figures.get(name), figure) for name in order)) for one in trial.acquisitions]
    if len(rows) > 1:
        rows.append(("mean", *(_figure(trial.mean.get(name), figure) for name in order)))
    return Table(_TITLES[figure], ("acquisition", *order), tuple(rows))


def _gain_table(caption: str, trial: Trial) -> Table:
    rows = tuple(
        (
            name,
            *(gain_text(row[figure], _DIGITS[figure]) for figure in _TITLES),
            f"{row['psnr'].wins} of {row['psnr'].n}",
        )
        for name, row in trial.gains.items()
    )
    return Table(caption, ("over", *_TITLES.values(), "better PSNR in"), rows)


def gain_text(gain: Gain, digits: int) -> str:
    """Write a gain with its interval: ``+1.20 (+0.80 to +1.60)``."""
    if gain.low is None or gain.high is None:
        return _signed(gain.mean, digits)
    return f"{_signed(gain.mean, digits)} ({_signed(gain.low, digits)} to {_signed(gain.high, digits)})"


def _figure(figures: Figures | None, figure: str) -> str:
    value = None if figures is None else getattr(figures, figure)
    return "no value" if value is None else f"{value:.{_DIGITS[figure]}f}".replace("-", _MINUS)


def _signed(value: float | None, digits: int) -> str:
    return "no value" if value is None else f"{value:+.{digits}f}".replace("-", _MINUS)


def _controls(card: Card) -> Section:
    tables = tuple(
        Table(
            trial.name if len(card.trials) > 1 else "",
            ("recording", "noise over that of interpolation", "structure over that of interpolation", ""),
            tuple(
                (one.name, f"{one.noise:.2f}", f"{one.invention:.2f}", "passed" if one.is_passed else "failed")
                for one in trial.controls
            ),
        )
        for trial in card.trials
        if trial.controls
    )
    text = ("What it shows of empty scenes it would invent in any image; above 1.05 the control is failed.",)
    return Section("Recordings without structure", text if tables else (), tables=tables)


def _descent(card: Card, header: ModelHeader) -> Section:
    """Say which models it was fine-tuned from, what was added, and what that changed."""
    if not header.lineage:
        return Section("")
    items = [
        f"{number}. {one.get('name')}, on {_names(one.get('training', {}))} (sha256 {str(one.get('sha256'))[:12]})"
        for number, one in enumerate(header.lineage, start=1)
    ]
    known = {
        entry.get("sha256") or entry.get("id")
        for training in header.trainings[:-1]
        for entry in training.get("acquisitions", ())
    }
    own = header.training.get("acquisitions", ())
    added = [str(entry.get("id")) for entry in own if (entry.get("sha256") or entry.get("id")) not in known]
    text = (
        "It was fine-tuned from the models below, oldest first. "
        + (f"Added were {', '.join(added)}." if added else "No images were added."),
    )
    return Section("Where it comes from", text, tuple(items), tuple(_before(card, header)))


def _names(training: object) -> str:
    manifests = training.get("manifests", ()) if isinstance(training, dict) else ()
    return ", ".join(str(one["name"]) for one in manifests) or "images that are not told"


def _before(card: Card, header: ModelHeader) -> Iterator[Table]:
    """Compare with the model that it was started from, on new images and on those of that model."""
    parents = {one["name"] for training in header.trainings[:-1] for one in training.get("manifests", ())}
    for before in card.before:
        after = next((one for one in card.trials if one.is_like(before)), None)
        if after is None:
            continue
        old = {(one.manifest, one.id): one.figures for one in before.acquisitions}
        for forgotten in (False, True):
            rows = [
                (one.id, *_change(old[one.manifest, one.id].get(_MODEL), one.figures.get(_MODEL)))
                for one in after.acquisitions
                if (one.manifest, one.id) in old and (one.manifest in parents) == forgotten
            ]
            if rows:
                what = "What it forgot: images like those of the model before it" if forgotten else "On the new images"
                yield Table(f"{what} (before, after)", ("acquisition", *_TITLES.values()), tuple(rows))


def _change(before: Figures | None, after: Figures | None) -> Iterator[str]:
    for figure in _TITLES:
        a, b = (None if one is None else getattr(one, figure) for one in (before, after))
        change = "" if a is None or b is None else f" ({_signed(b - a, _DIGITS[figure])})"
        yield f"{_figure(before, figure)}, {_figure(after, figure)}{change}"


def _lacking(file: ModelFile) -> Section:
    lacking, against = missing(file), objections(file.header)
    text = ("It cannot be put into the package or exported:",) if lacking or against else ()
    return Section("What the card lacks", text, (*lacking, *against))
