"""A manifest as Croissant 1.1, the JSON-LD that dataset search engines and machine-learning tools read, and back.

Specification: MLCommons, Croissant Format Specification 1.1 (2026-01-29) and Croissant RAI 1.0 (2024-03-06), whose
fields hold the datasheet. Files, splits and pairs are record sets with their data in them; what Croissant has no word
for (what is not known, how files are read) stands in ``additionalProperty``. Nothing is invented: a set without a web
page or a date gets none, though the specification wants both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from superres.datasets.datacard import credits, licences
from superres.datasets.manifest_format import AcquisitionEntry, ManifestEntry
from superres.errors import InputError

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
_CROISSANT = (
    "annotation arrayShape citeAs column containedIn equivalentProperty excludes extract field fileProperty fileObject "
    "fileSet format includes isArray isLiveDataset jsonPath key md5 parentField recordSet references regex readLines "
    "sdVersion separator source subField transform unArchive value"
)
_RAI = {
    "how": "rai:dataCollection",
    "processing": "rai:dataPreprocessingProtocol",
    "biases": "rai:dataBiases",
    "limits": "rai:dataLimitations",
    "uses": "rai:dataUseCases",
    "upkeep": "rai:dataReleaseMaintenancePlan",
}
_OWN = ("root", "evaluation_only", "reading", "unknown", "licence", "credit", "source")
_WHY = "why the set was made"
_UNPACK = "folder for "
_SPLIT_URLS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_PLAIN = ("axes", "modality", "instrument", "licence", "credit", "source", "doi", "note")
_TYPES = {
    ".tif": "image/tiff", ".tiff": "image/tiff", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".zip": "application/zip", ".tar": "application/x-tar", ".gz": "application/gzip", ".tgz": "application/gzip",
}  # fmt: skip
_KNOWN_LICENCES = {
    "CC0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY 3.0 US": "https://creativecommons.org/licenses/by/3.0/us/",
    "MIT": "https://spdx.org/licenses/MIT.html",
    "BSD-3-Clause": "https://spdx.org/licenses/BSD-3-Clause.html",
    "GPL-3.0": "https://spdx.org/licenses/GPL-3.0-only.html",
}


def to_croissant(entry: ManifestEntry) -> dict[str, Any]:
    """Return a manifest as a Croissant 1.1 document; the same manifest always gives the same one."""
    document: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": entry.name,
        "description": entry.description,
        "license": [_licence(text) for text in licences(entry)],
        "creator": [{"@type": "sc:Organization", "name": text} for text in credits(entry)],
        "url": entry.url or (f"https://doi.org/{entry.doi}" if entry.doi else None),
        "identifier": f"https://doi.org/{entry.doi}" if entry.doi else None,
        "citeAs": entry.cite,
        "version": entry.version,
        "datePublished": entry.published.isoformat() if entry.published else None,
        "measurementTechnique": entry.instrument,
    }
    document |= {name: getattr(entry.datasheet, key) for key, name in _RAI.items()}
    document["additionalProperty"] = list(_own_properties(entry))
    document["distribution"] = list(_distribution(entry))
    document["recordSet"] = [_split_set(), _acquisition_set(entry), _file_set(entry)]
    return {key: value for key, value in document.items() if value not in (None, [])}


def croissant_text(entry: ManifestEntry) -> str:
    """Return the Croissant document as text."""
    return json.dumps(to_croissant(entry), indent=2, ensure_ascii=False) + "\n"


def from_croissant(document: dict[str, Any]) -> ManifestEntry:
    """Read back what `to_croissant` wrote.

    Raises
    ------
    InputError
        When the document was not written by superres, or is damaged.
    """
    try:
        return ManifestEntry.model_validate(_manifest_values(document))
    except (ValidationError, KeyError, TypeError, StopIteration) as error:
        raise InputError(f"not a Croissant document of superres ({error}); expected one that it exported") from None


def _context() -> dict[str, Any]:
    names: dict[str, Any] = {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
    }
    return names | {name: f"cr:{name}" for name in _CROISSANT.split()}


def _licence(text: str) -> dict[str, str]:
    address = next((url for name, url in _KNOWN_LICENCES.items() if text.startswith(name)), None)
    return {"@type": "sc:CreativeWork", "name": text} | ({"url": address} if address else {})


def _own_properties(entry: ManifestEntry) -> Iterator[dict[str, Any]]:
    values = {key: getattr(entry, key) for key in _OWN} | {_WHY: entry.datasheet.why}
    for key, value in values.items():
        if value:
            yield {"@type": "sc:PropertyValue", "name": key, "value": list(value) if key == "unknown" else value}
    for archive in entry.archives:
        if archive.unpack is not None:
            yield {"@type": "sc:PropertyValue", "name": _UNPACK + archive.archive, "value": archive.unpack}


def _distribution(entry: ManifestEntry) -> Iterator[dict[str, Any]]:
    for archive in entry.archives:
        yield _file_object(_archive_id(archive.archive), archive.archive, archive.url, archive) | _without_none(
            {"description": archive.note}
        )
    listed = {file.file: file for item in entry.acquisitions for file, _ in item.files}
    for file in listed.values():
        address = file.url or (file.member or file.file if file.archive else file.file)
        item = _file_object(file.file, PurePosixPath(file.file).name, address, file)
        yield item | ({"containedIn": {"@id": _archive_id(file.archive)}} if file.archive else {})


def _file_object(identity: str, name: str, address: str | None, file: Any) -> dict[str, Any]:
    return _without_none(
        {
            "@type": "cr:FileObject",
            "@id": identity,
            "name": name,
            "contentUrl": address,
            "contentSize": f"{file.bytes} B" if file.bytes is not None else None,
            "encodingFormat": _TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream"),
            "sha256": file.sha256,
        }
    )


def _archive_id(name: str | None) -> str:
    return f"archive:{name}"


def _split_set() -> dict[str, Any]:
    fields = [_field("splits", "name", "sc:Text"), _field("splits", "url", "sc:URL")]
    data = [{"splits/name": name, "splits/url": url} for name, url in _SPLIT_URLS.items()]
    return {
        "@type": "cr:RecordSet", "@id": "splits", "name": "splits", "dataType": "cr:Split",
        "key": {"@id": "splits/name"}, "field": fields, "data": data,
    }  # fmt: skip


def _acquisition_set(entry: ManifestEntry) -> dict[str, Any]:
    numbers = [f"voxel_size_{axis}_um" for axis in "zyx"] + ["black", "white"]
    fields = [_field("acquisitions", "id", "sc:Text"), _field("acquisitions", "split", "sc:Text", "splits/name")]
    fields += [_field("acquisitions", name, "sc:Text") for name in (*_PLAIN, "factor_zyx")]
    fields += [_field("acquisitions", name, "sc:Float") for name in numbers]
    return {
        "@type": "cr:RecordSet", "@id": "acquisitions", "name": "acquisitions",
        "description": "One specimen, field or volume each; splits are made of whole acquisitions.",
        "key": {"@id": "acquisitions/id"}, "field": fields,
        "data": [_acquisition_record(item) for item in entry.acquisitions],
    }  # fmt: skip


def _acquisition_record(item: AcquisitionEntry) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "split": item.split}
    record |= {name: getattr(item, name) for name in _PLAIN}
    record["factor_zyx"] = " ".join(map(str, item.factor)) if item.factor else None
    sizes = item.voxel_size or (None, None, None)
    record |= {f"voxel_size_{axis}_um": size for axis, size in zip("zyx", sizes, strict=True)}
    record |= dict(zip(("black", "white"), item.grey_range or (None, None), strict=True))
    return {f"acquisitions/{name}": value for name, value in record.items()}


def _file_set(entry: ManifestEntry) -> dict[str, Any]:
    fields = [
        _field("files", "file", "sc:Text"),
        _field("files", "acquisition", "sc:Text", "acquisitions/id"),
        *(_field("files", name, "sc:Text") for name in ("role", "channels", "shift_zyx")),
    ]
    data = [
        {
            "files/file": file.file,
            "files/acquisition": item.id,
            "files/role": role,
            "files/channels": _numbers(file.channels),
            "files/shift_zyx": _numbers(file.shift),
        }
        for item in entry.acquisitions
        for file, role in item.files
    ]
    return {
        "@type": "cr:RecordSet", "@id": "files", "name": "files",
        "description": "Which acquisition a file belongs to; the n-th low file of one is a pair with its n-th high.",
        "field": fields, "data": data,
    }  # fmt: skip


def _numbers(values: tuple[float, ...] | None) -> str | None:
    return None if values is None else " ".join(map(str, values))


def _field(owner: str, name: str, kind: str, references: str | None = None) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{owner}/{name}", "name": name, "dataType": kind}
    return field | ({"references": {"field": {"@id": references}}} if references else {})


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _manifest_values(document: dict[str, Any]) -> dict[str, Any]:
    objects = {item["@id"]: item for item in document.get("distribution", [])}
    own = {item["name"]: item["value"] for item in document.get("additionalProperty", [])}
    values: dict[str, Any] = {key: own[key] for key in _OWN if key in own}
    names = {"name": "name", "description": "description", "citeAs": "cite", "version": "version"}
    names |= {"datePublished": "published", "measurementTechnique": "instrument"}
    values |= {key: document.get(name) for name, key in names.items()}
    doi = document.get("identifier")
    values["doi"] = doi.removeprefix("https://doi.org/") if doi else None
    values["url"] = None if document.get("url") == doi else document.get("url")
    values["datasheet"] = {key: document.get(name) for key, name in _RAI.items()} | {"why": own.get(_WHY)}
    archives = [_archive_values(item) for key, item in objects.items() if key.startswith("archive:")]
    values["archives"] = [item | {"unpack": own.get(_UNPACK + item["archive"])} for item in archives]
    sets = {item["@id"]: item.get("data", []) for item in document["recordSet"]}
    files = [_short_keys(record) for record in sets["files"]]
    values["acquisitions"] = [
        _acquisition_values(_short_keys(record), files, objects) for record in sets["acquisitions"]
    ]
    return values


def _short_keys(record: dict[str, Any]) -> dict[str, Any]:
    return {key.partition("/")[2]: value for key, value in record.items()}


def _acquisition_values(record: dict[str, Any], files: list[dict[str, Any]], objects: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: record[name] for name in ("id", "split", *_PLAIN)}
    sizes = [record[f"voxel_size_{axis}_um"] for axis in "zyx"]
    values["voxel_size"] = None if sizes == [None, None, None] else sizes
    values["grey_range"] = None if record["black"] is None else [record["black"], record["white"]]
    values["factor"] = [int(n) for n in record["factor_zyx"].split()] if record["factor_zyx"] else None
    for role in ("high", "low"):
        own = [item for item in files if item["acquisition"] == record["id"] and item["role"] == role]
        values[role] = [_file_values(objects[item["file"]]) | _use_of(item) for item in own]
    return values


def _use_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return which channels of a file are used and how it is moved; documents of others need not say."""
    channels, shift = record.get("channels"), record.get("shift_zyx")
    return {
        "channels": None if channels is None else [int(n) for n in channels.split()],
        "shift": None if shift is None else [float(n) for n in shift.split()],
    }


def _file_values(item: dict[str, Any]) -> dict[str, Any]:
    values = {"file": item["@id"], "sha256": item.get("sha256"), "bytes": _bytes(item)}
    address = item["contentUrl"]
    if "containedIn" in item:
        member = None if address == item["@id"] else address
        return values | {"archive": item["containedIn"]["@id"].removeprefix("archive:"), "member": member}
    return values | {"url": None if address == item["@id"] else address}


def _archive_values(item: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"archive": item["name"], "sha256": item.get("sha256"), "bytes": _bytes(item)}
    return values | {"url": item.get("contentUrl"), "note": item.get("description")}


def _bytes(item: dict[str, Any]) -> int | None:
    return int(item["contentSize"].removesuffix(" B")) if "contentSize" in item else None
