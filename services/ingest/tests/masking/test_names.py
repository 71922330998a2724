"""Names that a model finds; the model knows a few words."""

from pathlib import Path

import pytest

from services.ingest.tests.masking.tiny_names import tiny_model
from tidemill_core.models.manifest import ArtifactRefused, Manifest
from tidemill_ingest.masking.kinds import MaskKind
from tidemill_ingest.masking.names import ModelFolder, NameFinder, name_finder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("names"), max_tokens=16)


@pytest.fixture(scope="module")
def finder(folder: Path) -> NameFinder:
    return NameFinder(folder)


def named(finder: NameFinder, text: str) -> list[tuple[str, MaskKind]]:
    return [(text[start:stop], kind) for (start, stop), kind in finder.found([text])[0]]


def test_words_side_by_side_of_one_name_are_one(finder: NameFinder) -> None:
    assert named(finder, "ask Ada Lovelace, or Grace of Acme in Berlin.") == [
        ("Ada Lovelace", MaskKind.PERSON),
        ("Grace", MaskKind.PERSON),
        ("Acme", MaskKind.ORGANISATION),
        ("Berlin", MaskKind.PLACE),
    ]


def test_two_names_side_by_side_are_two(finder: NameFinder) -> None:
    assert [name for name, _ in named(finder, "ask Ada Grace Hopper")] == ["Ada", "Grace Hopper"]


def test_a_name_is_found_wherever_a_window_of_the_model_ends(finder: NameFinder) -> None:
    for before in range(40):
        text = "ask " * before + "Ada Lovelace" + " or" * 20
        assert named(finder, text) == [("Ada Lovelace", MaskKind.PERSON)], before


def test_code_and_placeholders_are_no_names(finder: NameFinder) -> None:
    assert named(finder, "at [Ada] with @Ada or /Paris") == []


def test_texts_of_all_lengths_are_read_together(finder: NameFinder) -> None:
    texts = ["", "Ada", "the " * 500 + "Paris", "of Acme"]

    assert [len(names) for names in finder.found(texts)] == [0, 1, 1, 1]


def test_a_folder_that_is_not_what_its_manifest_says_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    model = ModelFolder(path=tmp_path, manifest=Manifest.from_folder(folder))

    with pytest.raises(ArtifactRefused):
        name_finder(model)
