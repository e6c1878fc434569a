"""A data set on one page, for people: what it is, how much, under which terms, its known biases, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from superres.datasets.manifest_format import AcquisitionEntry, ArchiveEntry, FileEntry, ManifestEntry

_SPLITS = ("train", "val", "test")
_USED_FOR = {"train": "learned from", "val": "watched and reported", "test": "kept for the end"}
_DATASHEET = {
    "why": "Why it was made",
    "how": "How it was recorded",
    "processing": "What was done to it since",
    "biases": "Known biases",
    "limits": "Limits",
    "uses": "What it is good for",
    "upkeep": "Upkeep",
}


def data_card(entry: ManifestEntry, path: Path) -> str:
    """Write the datasheet of a manifest in Markdown; nothing but the manifest is read.

    Parameters
    ----------
    entry : ManifestEntry
        What stands in the manifest.
    path : Path
        Its file, as the commands in the text are to name it.
    """
    blocks = [f"# {entry.name}", entry.description]
    if entry.evaluation_only is not None:
        blocks.append(f"**For evaluation only, never for training:** {entry.evaluation_only}")
    blocks.append("\n".join(_facts(entry)))
    blocks += ["## Splits", "\n".join(_splits(entry))]
    if entry.archives:
        blocks += ["## Archives", "\n".join(_archives(entry))]
    for key, title in _DATASHEET.items():
        text = getattr(entry.datasheet, key)
        if text is not None:
            blocks += [f"## {title}", text]
    if entry.unknown or _gaps(entry):
        blocks += ["## Not known", "\n".join(f"- {text}" for text in (*entry.unknown, *_gaps(entry)))]
    blocks += ["## How to get it", *_how_to_get(entry, path), "## Acquisitions", "\n".join(_acquisitions(entry))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def sets_table(entries: Iterable[tuple[str, ManifestEntry]]) -> str:
    """Write one Markdown table of many data sets, a row each.

    Parameters
    ----------
    entries : iterable of (str, ManifestEntry)
        Name of the manifest's file, to link to, and what stands in it.
    """
    lines = ["| set | what | train / val / test | size | licence | fetch |", "|---|---|---|---|---|---|"]
    for file, entry in entries:
        counts = " / ".join(str(len(_of(entry, split))) for split in _SPLITS) if entry.acquisitions else "not listed"
        what = entry.description.split(". ")[0].rstrip(".").split(": ")[0]
        only = " (evaluation only)" if entry.evaluation_only else ""
        licence = "; ".join(dict.fromkeys(_short(text) for text in licences(entry)))
        row = (f"[{entry.name}]({file})", what + only, counts, _amount(entry), licence, _origin_in_short(entry))
        lines.append("| " + " | ".join(_cell(text) for text in row) + " |")
    return "\n".join(lines) + "\n"


def licences(entry: ManifestEntry) -> tuple[str, ...]:
    """Every licence that applies, each once; the set's own first."""
    return _values(entry, "licence")


def credits(entry: ManifestEntry) -> tuple[str, ...]:
    """Everyone to be named, each once."""
    return _values(entry, "credit")


def size_text(size: int) -> str:
    """Write a number of bytes for a person."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def listed_files(entry: ManifestEntry) -> tuple[FileEntry, ...]:
    """Every file of the acquisitions, each once."""
    return tuple({file.file: file for item in entry.acquisitions for file, _ in item.files}.values())


def _everything(entry: ManifestEntry) -> tuple[FileEntry | ArchiveEntry, ...]:
    return (*listed_files(entry), *entry.archives)


def _values(entry: ManifestEntry, key: str) -> tuple[str, ...]:
    inherits = not entry.acquisitions or any(getattr(item, key) is None for item in entry.acquisitions)
    own = [getattr(entry, key)] if inherits else []
    return tuple(dict.fromkeys(text for text in (*own, *(getattr(item, key) for item in entry.acquisitions)) if text))


def _facts(entry: ManifestEntry) -> Iterator[str]:
    voxels = dict.fromkeys(_voxel_size(item) for item in entry.acquisitions)
    dois = _values(entry, "doi") if entry.doi is None else tuple(dict.fromkeys((entry.doi, *_values(entry, "doi"))))
    facts = {
        "Licence": "; ".join(licences(entry)),
        "Credit": "; ".join(credits(entry)),
        "Cite": entry.cite,
        "DOI": "; ".join(f"https://doi.org/{doi}" for doi in dois),
        "Page": entry.url,
        "Source": entry.source if entry.source != entry.url else None,
        "Version": entry.version,
        "Published": entry.published.isoformat() if entry.published else None,
        "Instrument": "; ".join(_values(entry, "instrument")),
        "Voxel size (ZYX, µm)": "; ".join(voxels),
        "Size": _amount(entry),
        "Reading": entry.reading,
    }
    return (f"- **{name}:** {' '.join(text.split())}" for name, text in facts.items() if text)


def _splits(entry: ManifestEntry) -> Iterator[str]:
    if not entry.acquisitions:
        yield "No images are listed yet. When they are, splits are to be made of whole acquisitions."
        return
    yield "| split | acquisitions | high files | low files | size |"
    yield "|---|---|---|---|---|"
    for split in _SPLITS:
        items = _of(entry, split)
        if items:
            high, low = sum(len(item.high) for item in items), sum(len(item.low) for item in items)
            size = _sum_text([file for item in items for file, _ in item.files])
            yield f"| {split} ({_USED_FOR[split]}) | {len(items)} | {high} | {low} | {size} |"


def _archives(entry: ManifestEntry) -> Iterator[str]:
    yield "| archive | size | SHA-256 | address |"
    yield "|---|---|---|---|"
    for archive in entry.archives:
        size = size_text(archive.bytes) if archive.bytes is not None else "not known"
        yield f"| {archive.archive} | {size} | {archive.sha256 or 'not known'} | {archive.url or 'none known'} |"
    yield from (f"\n{archive.archive}: {archive.note}" for archive in entry.archives if archive.note)


def _gaps(entry: ManifestEntry) -> tuple[str, ...]:
    """Say what a machine can see is missing."""
    files = _everything(entry)
    bare = [file for file in files if file.sha256 is None]
    where = [file for file in files if file.url is None and (isinstance(file, ArchiveEntry) or file.archive is None)]
    texts = []
    if bare:
        texts.append(f"No checksum for {len(bare)} of {len(files)} files and archives: what comes is not verified.")
    if where:
        texts.append(f"No address for {len(where)} of {len(files)} files and archives: to be fetched by hand.")
    return tuple(texts)


def _how_to_get(entry: ManifestEntry, path: Path) -> Iterator[str]:
    files = _everything(entry)
    if not files:
        yield f"By hand, from {entry.url or entry.source}; then list the files under `acquisitions:` in the manifest."
    elif any(file.url for file in files):
        yield f"```\nsuperres data fetch {path}\nsuperres data check {path}\n```"
        yield "Files go below the folder given by `SUPERRES_DATA`, or by `--to FOLDER`; the same command resumes."
    else:
        yield "There is no address to fetch from. Put the files below the folder given by `SUPERRES_DATA`, then run"
        yield f"```\nsuperres data check {path}\n```"


def _acquisitions(entry: ManifestEntry) -> Iterator[str]:
    if not entry.acquisitions:
        yield "None listed."
        return
    yield "| id | split | high | low | voxel size ZYX, µm | what | licence |"
    yield "|---|---|---|---|---|---|---|"
    for item in entry.acquisitions:
        licence = _short(item.licence or entry.licence or "")
        row = (item.id, item.split, str(len(item.high)), str(len(item.low)), _voxel_size(item), item.modality or "")
        yield "| " + " | ".join(_cell(text) for text in (*row, licence)) + " |"
    yield from (f"\n{item.id}: {item.note}" for item in entry.acquisitions if item.note)


def _of(entry: ManifestEntry, split: str) -> list[AcquisitionEntry]:
    return [item for item in entry.acquisitions if item.split == split]


def _voxel_size(item: AcquisitionEntry) -> str:
    if item.voxel_size is None or item.voxel_size == (None, None, None):
        return "not known"
    return " ".join("?" if size is None else f"{size:g}" for size in item.voxel_size)


def _amount(entry: ManifestEntry) -> str:
    files = listed_files(entry)
    if files:
        return f"{len(files)} file{'s' * (len(files) > 1)}, {_sum_text(files)}"
    if entry.archives:
        return f"{len(entry.archives)} archive{'s' * (len(entry.archives) > 1)}, {_sum_text(entry.archives)}"
    return "none listed"


def _sum_text(files: Sequence[object]) -> str:
    sizes = [getattr(file, "bytes", None) for file in files]
    known = [size for size in sizes if size is not None]
    if not known:
        return "size not known"
    return size_text(sum(known)) + ("" if len(known) == len(sizes) else " and more")


def _origin_in_short(entry: ManifestEntry) -> str:
    files = _everything(entry)
    fetched = [file for file in files if file.url]
    if not fetched:
        return "by hand"
    return "yes" if all(file.sha256 for file in fetched) else "yes, unverified"


def _short(licence: str) -> str:
    """Return a licence without the remark in brackets that says where it is stated."""
    return licence.split(" (")[0].split(";")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
