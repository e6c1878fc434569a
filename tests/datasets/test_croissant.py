"""Croissant export: what goes out comes back, the same every time, and in the words of the specification."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.datasets.croissant import CONFORMS_TO, croissant_text, from_croissant, to_croissant
from superres.datasets.manifest_format import ManifestEntry
from superres.errors import InputError

words = st.text("abcdefgh üµ,.", min_size=1, max_size=12).map(str.strip).filter(bool)
names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
digests = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)
sizes = st.none() | st.integers(0, 2**40)
maybe = st.none() | words
lengths = st.none() | st.floats(1e-3, 10)
addresses = st.none() | names.map(lambda name: f"https://example.org/{name}")


def file_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    origin = st.fixed_dictionaries({"url": addresses}) | st.fixed_dictionaries(
        {"archive": st.just("all.zip"), "member": st.none() | st.just(f"inside/{name}.tif")}
    )
    known = st.fixed_dictionaries({"file": st.just(f"data/{name}.tif"), "sha256": digests, "bytes": sizes})
    return st.builds(lambda a, b: a | b, known, origin)


@st.composite
def acquisitions(draw: st.DrawFn, name: str) -> dict[str, Any]:
    count = draw(st.integers(1, 3))
    low = draw(st.booleans())
    used = draw(st.fixed_dictionaries({"channels": st.sampled_from([None, [0], [2, 1]])}))
    moved = draw(st.fixed_dictionaries({"shift": st.sampled_from([None, [0.0, 1.25, -0.4]])}))
    texts = {key: draw(maybe) for key in ("modality", "instrument", "licence", "credit", "source", "note")}
    return texts | {
        "id": name,
        "split": draw(st.sampled_from(["train", "val", "test"])),
        "high": [draw(file_of(f"{name}_h{i}")) | (used if low else {}) for i in range(count)],
        "low": [draw(file_of(f"{name}_l{i}")) | moved for i in range(count)] if low else [],
        "factor": draw(st.none() | st.just([1, 2, 4])) if low else None,
        "axes": draw(st.none() | st.just("ZYX")),
        "voxel_size": draw(st.none() | st.tuples(lengths, lengths, lengths)),
        "grey_range": draw(st.none() | st.just([0, 255.5])),
        "doi": draw(st.none() | st.just("10.1000/abc")),
    }


@st.composite
def manifests(draw: st.DrawFn) -> ManifestEntry:
    items = [draw(acquisitions(name)) for name in draw(st.lists(names, unique=True, max_size=3))]
    values: dict[str, Any] = {key: draw(words) for key in ("description", "licence", "credit", "source")}
    values |= {key: draw(maybe) for key in ("cite", "version", "instrument", "reading", "root")}
    values["datasheet"] = {key: draw(maybe) for key in ("why", "how", "processing", "biases", "limits", "uses")}
    values["archives"] = [
        {
            "archive": "all.zip", "sha256": draw(digests), "bytes": draw(sizes), "url": draw(addresses),
            "unpack": draw(st.none() | st.just("folder")), "note": draw(maybe),
        }
    ]  # fmt: skip
    values |= {"name": draw(names), "unknown": draw(st.lists(words, max_size=2)), "acquisitions": items}
    values |= {"doi": draw(st.none() | st.just("10.5281/zenodo.1")), "url": draw(addresses)}
    values |= {"published": draw(st.none() | st.dates())}
    return ManifestEntry.model_validate(values)


def without_nothing(entry: ManifestEntry) -> ManifestEntry:
    """A voxel size of which nothing is known is the same as none."""
    items = [
        item.model_copy(update={"voxel_size": None}) if item.voxel_size == (None, None, None) else item
        for item in entry.acquisitions
    ]
    return entry.model_copy(update={"acquisitions": tuple(items)})


@settings(max_examples=25)
@given(manifests())
def test_what_goes_out_comes_back(entry: ManifestEntry) -> None:
    text = croissant_text(entry)
    assert from_croissant(json.loads(text)) == without_nothing(entry)
    assert croissant_text(ManifestEntry.model_validate(entry.model_dump())) == text, "not the same every time"


@settings(max_examples=15)
@given(manifests())
def test_document_holds_what_the_specification_wants(entry: ManifestEntry) -> None:
    document = to_croissant(entry)
    assert document["@type"] == "sc:Dataset"
    assert document["conformsTo"] == list(CONFORMS_TO)
    assert {"@context", "name", "description", "license", "creator"} <= document.keys()
    identities = [item["@id"] for item in document["distribution"]]
    for records in document["recordSet"]:
        fields = {field["@id"] for field in records["field"]}
        identities += [records["@id"], *fields]
        for record in records["data"]:
            assert set(record) == fields, "every record has every field of its set, and no other"
        for field in records["field"]:
            assert field["@id"] == f"{records['@id']}/{field['name']}"
            assert field["dataType"] in ("sc:Text", "sc:URL", "sc:Float")
    assert len(set(identities)) == len(identities), "identities are unique in the document"
    for item in document["distribution"]:
        assert item["@type"] == "cr:FileObject"
        assert {"name", "encodingFormat"} <= item.keys()
        if "containedIn" in item:
            assert item["containedIn"]["@id"] in identities


def test_known_licences_get_their_address() -> None:
    values = {"name": "a", "description": "a", "licence": "CC BY 4.0 (repo LICENSE)", "credit": "b", "source": "c"}
    document = to_croissant(ManifestEntry.model_validate(values | {"unknown": ["all"], "acquisitions": []}))
    assert document["license"][0]["url"] == "https://creativecommons.org/licenses/by/4.0/"
    assert document["license"][0]["name"] == "CC BY 4.0 (repo LICENSE)"
    assert "url" not in document, "nothing is invented"
    assert "datePublished" not in document


def test_a_stranger_s_document_is_refused() -> None:
    with pytest.raises(InputError, match="not a Croissant document of superres"):
        from_croissant({"@type": "sc:Dataset", "name": "x"})


def test_mlcroissant_reads_it() -> None:
    """An independent reader, where one is installed; it is no dependency."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="an independent reader: pip install mlcroissant")
    values = {"name": "a", "description": "a", "licence": "MIT", "credit": "b", "source": "c"}
    file = {"file": "a.tif", "sha256": "a" * 64, "url": "https://example.org/a.tif"}
    item = {"id": "x", "split": "test", "high": [file]}
    document = to_croissant(ManifestEntry.model_validate(values | {"acquisitions": [item]}))
    assert not mlcroissant.Dataset(jsonld=document).metadata.ctx.issues.errors
