"""The folder of the demo: what its files become, and that its questions name the places of their answers."""

import importlib.util
import io
import sys
import zipfile
from email import message_from_bytes, policy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from tidemill.content.v1.content_pb2 import (
    ANCHOR_KIND_PAGE,
    ANCHOR_KIND_ROW,
    ANCHOR_KIND_SHEET,
    Passage,
    Place,
)
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateResponse
from tidemill_cli.loop import read_loop
from tidemill_core.errors import DeadlineExceeded
from tidemill_core.media_types import MEDIA_TYPES, media_type_of
from tidemill_core.places import described
from tidemill_helpdesk.data_profile import counted
from tidemill_helpdesk.example import Example
from tidemill_helpdesk.office import NAME, Office, expected, place_of
from tidemill_helpdesk.report import Report
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.formats import is_listing
from tidemill_ingest.parsing.text import Extracted, extract

EXAMPLE = Path(__file__).resolve().parents[3] / "office"
PAGE = Place(kind=ANCHOR_KIND_PAGE, first=2, last=2)
ANSWERS = ("42 kilograms", "161", "31 per cent", "Havgula is docked", "14 March", "16:50")


@pytest.fixture(scope="module")
def office() -> ModuleType:
    specification = importlib.util.spec_from_file_location("office_files", EXAMPLE / "files.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def contents(office: ModuleType) -> dict[str, bytes]:
    """Return the folder's files, and what is inside of them, by the keys of their documents."""
    files: dict[str, bytes] = office.files()
    mail, archive = "mail/nordlys.eml", "archive/2026.zip"
    message = message_from_bytes(files[mail], policy=policy.default)
    inside = {f"{mail}!/{part.get_filename()}": bytes(part.get_content()) for part in message.iter_attachments()}
    with zipfile.ZipFile(io.BytesIO(files[archive])) as opened:
        members = {f"{archive}!/{name}": opened.read(name) for name in opened.namelist()}
    return {**files, **inside, **members}


def test_each_file_is_read_refused_or_skipped_as_the_folder_says(
    office: ModuleType, contents: dict[str, bytes]
) -> None:
    assert {each for each in contents if "!" in each} == set(office.INSIDE)
    for key, content in contents.items():
        media_type = media_type_of(key, content)
        if key in office.SKIPPED:
            assert media_type not in MEDIA_TYPES.values()
        elif key in office.REFUSED:
            with pytest.raises(DocumentRefused):
                extract(content, media_type)
        else:
            assert extract(content, media_type).text


def test_a_profile_counts_what_is_inside_of_archives_and_not_these(
    office: ModuleType, contents: dict[str, bytes]
) -> None:
    documents = {key: each for key, each in contents.items() if key not in {*office.REFUSED, *office.SKIPPED}}

    listings = [key for key, each in documents.items() if is_listing(media_type_of(key, each))]
    assert listings == ["archive/2026.zip"]
    assert counted(documents) == len(documents) - len(listings)


def test_the_answer_to_each_question_is_at_its_place(office: ModuleType, contents: dict[str, bytes]) -> None:
    for question, answer in zip(office.QUESTIONS, ANSWERS, strict=True):
        extracted = extract(contents[question.key], media_type_of(question.key, contents[question.key]))
        assert _at(extracted, extracted.text.index(answer)) == question.place, question.key


def test_its_loop_is_valid_and_has_the_names_that_the_demo_asks_for() -> None:
    loop = read_loop(EXAMPLE / "loop.yaml")

    assert NAME in loop.sources
    assert NAME in loop.collections
    assert NAME in loop.deployments


def test_a_passage_names_its_sheet_and_row_as_the_questions_do() -> None:
    places = [
        Place(kind=ANCHOR_KIND_SHEET, first=1, last=1, name="Vehicles"),
        Place(kind=ANCHOR_KIND_ROW, first=5, last=5),
    ]
    passage = Passage(key="fares.xlsx", places=places)

    assert place_of(passage) == "sheet Vehicles, row 5"
    assert expected({"key": "fares.xlsx", "place": place_of(passage)}) == "fares.xlsx, sheet Vehicles, row 5"


def _at(extracted: Extracted, position: int) -> str:
    last = {each.kind: each for each in extracted.anchors if each.start <= position}
    return described((each.kind.value, each.number, each.number, each.name) for each in last.values())


async def test_a_question_that_ran_into_its_deadline_is_asked_again_after_the_others() -> None:
    asked: list[str] = []

    async def generate(request: GenerateRequest, **_: object) -> GenerateResponse:
        text = request.messages[0].parts[0].text
        asked.append(text)
        if asked == ["one?"]:
            message = "the answer was not complete in time"
            raise DeadlineExceeded(message)
        return GenerateResponse(inference=Inference(passages=[Passage(key="a.pdf", places=[PAGE])]))

    questions = [{"text": text, "key": "a.pdf", "place": "page 2"} for text in ("one?", "two?")]
    stub, report = SimpleNamespace(Generate=generate), Report("demo")
    connection = cast("Any", SimpleNamespace(inferences=stub))
    await Office(
        connection=connection, example=Example(folder=EXAMPLE), report=report, facts={NAME: {"questions": questions}}
    ).ask()

    assert asked == ["one?", "two?", "one?"]
    assert report.figures[NAME] == {"asked": 2, "at_their_place": 2}
