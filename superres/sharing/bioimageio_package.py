"""The files of a model package, and the description that holds them together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.common import ValidationError
from bioimageio.spec.model import v0_5

from superres import __version__
from superres.config import IntensityRule
from superres.errors import InputError
from superres.modelfile import ModelFile
from superres.sharing.bioimageio_axes import input_description, output_description
from superres.sharing.bioimageio_export import MODEL
from superres.sharing.bioimageio_net import (
    BLACK,
    WHITE,
    WholeNet,
    example_image,
    radii,
    traced,
    usual_warnings,
    whole_net,
)
from superres.sharing.bioimageio_source import CALLABLE, net_source
from superres.sharing.bioimageio_text import citations, package_page
from superres.sharing.card import Card

TOLERANCE = 1e-4
"""How far a result may be from that of superres, as a share of the range between black and white."""

_SPDX = {"CC0": "CC0-1.0", "CC-BY": "CC-BY-4.0", "BSD": "BSD-3-Clause", "APACHE": "Apache-2.0"}
_SAID = (
    "Bare net for super-resolution or restoration; outputs are predictions and need validation. "
    "superres' guard and trust maps are not in it."
)


def write_package(file: ModelFile, card: Card, authors: Sequence[str], folder: Path) -> Path:
    """Write a package into a folder, not tested yet.

    Returns
    -------
    Path
        A ``.zip``.

    Raises
    ------
    InputError
        When author or licence are not as the format has them.
    ModelFileError
        When the net cannot be cut into blocks.
    """
    licence, net = spdx(card.licence, str(file.path)), whole_net(file)
    _write_files(file, card, net, folder)
    path = folder / "package.zip"
    try:
        with usual_warnings():
            described = _description(file, card, authors, licence, folder)
            save_bioimageio_package(described, output_path=path, allow_invalid=False)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise InputError(f"{file.path}: cannot be described for bioimage.io ({said})") from None
    return path


def spdx(licence: str, what: str) -> str:
    """Return the SPDX identifier of a licence as people write it: ``CC BY 4.0`` is ``CC-BY-4.0``.

    Raises
    ------
    InputError
        When there is none.
    """
    name = licence.strip().replace(" ", "-")
    name = _SPDX.get(name.upper(), name)
    try:
        return str(v0_5.LicenseId(name))
    except ValidationError:
        raise InputError(
            f"{what}: its card has the licence {licence!r}, which has no SPDX identifier; write one of "
            "https://spdx.org/licenses, such as CC-BY-4.0, with superres models describe --licence"
        ) from None


def _write_files(file: ModelFile, card: Card, net: WholeNet, folder: Path) -> None:
    low = example_image(file.header)[None]
    normalised = torch.from_numpy((low - np.float32(BLACK)) / np.float32(WHITE - BLACK))
    with torch.inference_mode():
        high = net(normalised).numpy()
    np.save(folder / "test_input.npy", low)
    np.save(folder / "test_output.npy", high)
    (folder / MODEL).write_bytes(file.path.read_bytes())
    for picture in card.pictures:
        (folder / Path(picture.file).name).write_bytes((file.path.parent / picture.file).read_bytes())
    torch.save(net.state_dict(), folder / "weights.pt")
    (folder / "weights.torchscript.pt").write_bytes(traced(net, normalised))
    (folder / "superres_net.py").write_text(net_source(), encoding="utf-8")
    (folder / "README.md").write_text(package_page(file), encoding="utf-8")


def _description(file: ModelFile, card: Card, authors: Sequence[str], licence: str, folder: Path) -> v0_5.ModelDescr:
    header = file.header
    return v0_5.ModelDescr(
        name=_name(header.name),
        description=shorten(card.purpose, 380, placeholder=" ...") + " " + _SAID,
        authors=[v0_5.Author(name=name) for name in authors],
        cite=_cite(file),
        license=v0_5.LicenseId(licence),
        tags=_tags(file, card),
        documentation=_file(folder, "README.md"),
        attachments=[_file(folder, name) for name in (MODEL, *(Path(one.file).name for one in card.pictures))],
        inputs=[input_description(header, _file(folder, "test_input.npy"))],
        outputs=[output_description(header, _file(folder, "test_output.npy"))],
        weights=_weights(file, folder),
        config=_config(file, card),
        version=v0_5.Version("1.0.0"),
    )


def _file(folder: Path, name: str) -> v0_5.FileDescr:
    return v0_5.FileDescr(source=folder / name)


def _name(name: str) -> str:
    return "superres " + "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)


def _tags(file: ModelFile, card: Card) -> list[str]:
    kind = "super-resolution" if max(file.header.factor) > 1 else "image-restoration"
    modality = {"electron": ["electron-microscopy"], "light": ["fluorescence-light-microscopy"]}.get(card.modality, [])
    return ["superres", kind, "unet", "pytorch", f"{len(radii(file.header))}d", *modality]


def _cite(file: ModelFile) -> list[v0_5.CiteEntry]:
    return [
        v0_5.CiteEntry(text=text, doi=v0_5.Doi(doi)) if doi else v0_5.CiteEntry(text=text, url=v0_5.HttpUrl(address))
        for text, doi, address in citations(file.header)
    ]


def _weights(file: ModelFile, folder: Path) -> v0_5.WeightsDescr:
    version = v0_5.Version(torch.__version__.partition("+")[0])
    source = v0_5.ArchitectureFromFileDescr(
        source=folder / "superres_net.py",
        callable=v0_5.Identifier(CALLABLE),
        kwargs=json.loads(json.dumps(dict(file.header.architecture))),
    )
    return v0_5.WeightsDescr(
        pytorch_state_dict=v0_5.PytorchStateDictWeightsDescr(
            source=folder / "weights.pt", architecture=source, pytorch_version=version
        ),
        torchscript=v0_5.TorchscriptWeightsDescr(
            source=folder / "weights.torchscript.pt", parent="pytorch_state_dict", pytorch_version=version
        ),
    )


def _config(file: ModelFile, card: Card) -> v0_5.Config:
    """Say what the format has fields for, and in a field of its own what superres takes back."""
    header, rule = file.header, IntensityRule.model_validate(dict(file.header.intensity))
    ours = {
        "model": MODEL,
        "sha256": file.sha256,
        "identity": file.identity,
        "version": __version__,
        "factor": list(header.factor),
        "receptive_radius": list(header.receptive_radius),
        "stride": list(header.stride),
        "intensity": rule.model_dump(mode="json"),
    }
    told: dict[str, Any] = {
        "architecture_type": "U-Net",
        "task": "super-resolution" if max(header.factor) > 1 else "restoration",
        "model_parameter_count": sum(value.size for value in file.weights.values()),
        "out_of_scope_use": "\n".join(card.not_for),
        "reproducibility_tolerance": [
            v0_5.ReproducibilityTolerance(relative_tolerance=0, absolute_tolerance=TOLERANCE)
        ],
    }
    if card.seconds is not None:
        told["training"] = v0_5.TrainingDetails(training_duration=card.seconds / 3600)
        told["environmental_impact"] = v0_5.EnvironmentalImpact(
            hardware_type=card.machine, hours_used=card.seconds / 3600
        )
    return v0_5.Config(bioimageio=v0_5.BioimageioConfig(**told), superres=ours)
