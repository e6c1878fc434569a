"""Registering all real pairs of a manifest, and writing one in which the measured shifts stand."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from superres.datasets.channels import open_channels
from superres.datasets.contact_sheet import PairView, view_pair, write_sheet
from superres.datasets.manifest import DataRoot, find_data_root
from superres.datasets.manifest_format import AcquisitionEntry, FileEntry, ManifestEntry
from superres.datasets.manifest_reading import read_entry
from superres.datasets.registration import Registration, register_pair
from superres.errors import InputError, MissingFileError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import Volume

Triple = tuple[int, int, int]

SHEET = "contact_sheet.png"


@dataclass(frozen=True, slots=True)
class RegisteredPair:
    """One low and high file, and how they lie on each other."""

    acquisition: str
    split: str
    low: str
    high: str
    factor: Triple
    registration: Registration


@dataclass(frozen=True, slots=True)
class RegisteredManifest:
    """All pairs of a manifest, and what was written: `written` is None where no pair was accepted."""

    path: Path
    pairs: tuple[RegisteredPair, ...]
    sheet: Path
    written: Path | None

    @property
    def refused(self) -> tuple[RegisteredPair, ...]:
        """Pairs that are not in the new manifest."""
        return tuple(pair for pair in self.pairs if not pair.registration.is_accepted)


def register_manifest(
    path: Path, out: Path, data_root: Path | None = None, *, progress: ProgressCallback = silent
) -> RegisteredManifest:
    """Measure the shift of every real pair; write a contact sheet and a manifest with the shifts of those accepted.

    Shifts that stand in the manifest already are measured anew.

    Parameters
    ----------
    path : Path
        A manifest with low files.
    out : Path
        Folder for ``contact_sheet.png`` and a manifest of the same name.
    data_root : Path, optional
        As in `superres.datasets.load_manifest`.
    progress : callable, optional
        Gets events of the stage ``"register"``, in pairs.

    Raises
    ------
    MissingFileError, InputError
        When the manifest or a file is missing or wrong, or there are no pairs.
    OutputWriteError
        When `out` is the folder of the manifest, or cannot be written.
    """
    entry = read_entry(path)
    root = find_data_root(entry, path, data_root)
    target = out / path.name
    if target.exists() and target.samefile(path):
        raise OutputWriteError(f"{out}: the manifest itself lies there and would be overwritten; give another folder")
    listed = [(item, i) for item in entry.acquisitions for i in range(len(item.low))]
    if not listed:
        raise InputError(f"{path}: lists no low images, so there is nothing to register; list them under 'low:'")
    pairs: list[RegisteredPair] = []
    views: list[PairView] = []
    for done, (item, index) in enumerate(listed):
        progress(Progress("register", done, len(listed), "pairs", item.id))
        pair, view = _register(item, index, root)
        pairs.append(pair)
        views.append(view)
    progress(Progress("register", len(listed), len(listed), "pairs"))
    write_sheet(views, out / SHEET)
    written = _write(path, entry, pairs, root, target)
    return RegisteredManifest(path, tuple(pairs), out / SHEET, written)


def _register(item: AcquisitionEntry, index: int, root: DataRoot) -> tuple[RegisteredPair, PairView]:
    low, high = (_open(files[index], root, item.axes) for files in (item.low, item.high))
    factor = item.factor or _factor(low, high)
    found = register_pair(low, high, factor=factor)
    pair = RegisteredPair(item.id, item.split, item.low[index].file, item.high[index].file, factor, found)
    title = f"{item.id}: {Path(item.low[index].file).name} and {Path(item.high[index].file).name}"
    return pair, view_pair(low, high, factor=factor, registration=found, title=title)


def _open(file: FileEntry, root: DataRoot, axes: str | None) -> Volume:
    path = root.folder / file.file
    if not path.exists():
        raise MissingFileError(f"{path}: no such file; fetch it, or give the folder of the data with --root")
    return open_channels(path, axes, file.channels)


def _factor(low: Volume, high: Volume) -> Triple:
    """Tell the factor from the shapes where the manifest does not state it."""
    ratios = [h / n for h, n in zip(high.shape[2:], low.shape[2:], strict=True)]
    z, y, x = (round(ratio) for ratio in ratios)
    if (z, y, x) != tuple(ratios):
        sizes = " and ".join("x".join(map(str, volume.shape[2:])) for volume in (low, high))
        raise InputError(
            f"{high.source}: {sizes} voxels (ZYX) of low and high are no whole multiples, so the factor cannot be "
            "told; state it in the manifest, for example factor: [1, 4, 4]"
        )
    return z, y, x


def _write(path: Path, entry: ManifestEntry, pairs: list[RegisteredPair], root: DataRoot, target: Path) -> Path | None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[str, list[Registration]] = defaultdict(list)
    for pair in pairs:
        found[pair.acquisition].append(pair.registration)
    kept = [item for raw in content["acquisitions"] for item in _registered(raw, found[raw["id"]])]
    if not any(item.get("low") for item in kept):
        return None
    content["acquisitions"] = kept
    folder = path.parent if entry.root is None else path.parent / entry.root
    if root.folder == folder:  # else the setting or the environment variable says where the files are
        content["root"] = os.path.relpath(folder, target.parent)
    lines = [f"# {entry.name} with the shifts that 'superres data register' measured: high voxels, ZYX."]
    lines += [f"# Left out: {p.low} ({p.registration.problem})" for p in pairs if not p.registration.is_accepted]
    text = "\n".join(lines) + "\n\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=118)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{target}: cannot be written ({error.strerror}); give another folder") from None
    return target


def _registered(raw: dict[str, Any], registrations: list[Registration]) -> Iterator[dict[str, Any]]:
    """Give an acquisition with the pairs that were accepted and their shifts; nothing where none was."""
    if not raw.get("low"):
        yield raw
        return
    kept = []
    for low, high, found in zip(raw["low"], raw["high"], registrations, strict=True):
        if found.is_accepted:
            kept.append((low | {"shift": [float(np.float64(s)) for s in found.stated]}, high))
    if kept:
        yield raw | {"high": [high for _, high in kept], "low": [low for low, _ in kept]}
