"""Questions with the documents that are relevant to them: read from files as BEIR has them, and kept as a suite."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from pathlib import Path

from tidemill.evaluator.v1.suite_pb2 import Case, Judgement, Suite
from tidemill_client.connection import Connection
from tidemill_client.declared import Suites
from tidemill_client.documents import Documents
from tidemill_core.errors import InvalidInput

_BEIR_COLUMNS, _TREC_COLUMNS = 3, 4
MAX_GRADE = 100
NO_DOCUMENT = "-"
"""What a file of judgements names in place of a document where no document answers a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedQuestion:
    """A question; `grades` are the ids of documents with their grade, 0 for not relevant."""

    id: str
    text: str
    grades: Mapping[str, int] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    unanswerable: bool = False
    """No document answers it."""

    @property
    def is_judged(self) -> bool:
        """Return whether a document is relevant."""
        return any(grade > 0 for grade in self.grades.values())

    @property
    def case(self) -> Case:
        """Return it as a case of a suite."""
        judgements = [Judgement(document=document, grade=grade) for document, grade in sorted(self.grades.items())]
        return Case(
            id=self.id,
            question=self.text,
            judgements=judgements,
            principals=self.principals,
            unanswerable=self.unanswerable,
        )


def read_beir(folder: Path, *, split: str = "test") -> list[JudgedQuestion]:
    """Return the judged and the unanswerable questions of a folder.

    Queries are in queries.jsonl, judgements in qrels/<split>.tsv or qrels.tsv: `query, document, grade`, with or
    without a line of headings, or TREC's `query, 0, document, grade`. What is judged not relevant is left out, as what
    is not judged. The document `-` with grade 0 says that no document answers the question.

    Raises:
        InvalidInput: a file is missing or a line is broken; which, and why.

    """
    places = [folder / "qrels" / f"{split}.tsv", folder / "qrels.tsv"]
    qrels = next((place for place in places if place.is_file()), None)
    if qrels is None:
        message = f"{folder} has no judgements: put them into {places[0]} or {places[1].name}"
        raise InvalidInput(message)
    grades: dict[str, dict[str, int]] = {}
    unanswerable = set[str]()
    for query, document, grade in _judgements(qrels):
        if document == NO_DOCUMENT:
            unanswerable.add(query)
        elif grade > 0:
            grades.setdefault(query, {})[document] = grade
    if contradicted := sorted(unanswerable & grades.keys()):
        message = f"{qrels}: {contradicted[0]} has relevant documents and {NO_DOCUMENT!r}, which says that it has none"
        raise InvalidInput(message)
    questions = [
        JudgedQuestion(id=name, text=text, grades=grades.get(name, {}), unanswerable=name in unanswerable)
        for name, text in _queries(folder)
    ]
    return [each for each in questions if each.is_judged or each.unanswerable]


def lowest(questions: Sequence[JudgedQuestion], size: int) -> list[JudgedQuestion]:
    """Return the sample that evaluator takes for `max_cases`: those whose ids have the lowest sha256, in order."""
    chosen = {
        each.id for each in nsmallest(size, questions, key=lambda each: hashlib.sha256(each.id.encode()).digest())
    }
    return [each for each in questions if each.id in chosen]


class JudgedSuites:
    """The suites of a project that have judged questions."""

    def __init__(self, connection: Connection) -> None:
        self._suites, self._documents = Suites(connection), Documents(connection)

    async def all(self) -> list[Suite]:
        """Return those that there are, without their cases."""
        return [suite async for suite in self._suites.all() if suite.judged_case_count]

    async def questions(self, suite: str) -> list[JudgedQuestion]:
        """Return the questions of a suite, those without judgements too."""
        return [
            JudgedQuestion(
                id=case.id,
                text=case.question,
                grades={each.document: each.grade for each in case.judgements},
                principals=tuple(case.principals),
                unanswerable=case.unanswerable,
            )
            for case in (await self._suites.get(suite)).cases
        ]

    async def with_ids(self, questions: Sequence[JudgedQuestion], source: str) -> list[JudgedQuestion]:
        """Return the questions with the ids of a source's documents in place of their keys.

        Documents that the source lacks are left out, and so are questions that have no relevant one left.
        """
        ids = {document.key: document.id async for document in self._documents.all(source=source)}
        known = [
            replace(each, grades={ids[key]: grade for key, grade in each.grades.items() if key in ids})
            for each in questions
        ]
        return [each for each in known if each.is_judged or each.unanswerable]

    async def keep(self, name: str, questions: Sequence[JudgedQuestion], *, generated_by: str = "") -> Suite:
        """Store the questions as a suite, or as the next version of one that exists; the same ones change nothing."""
        suite = Suite(id=name, cases=[each.case for each in questions], generated_by=generated_by)
        if await self._suites.find(name) is None:
            return await self._suites.create(suite)
        return await self._suites.update(suite, "cases", "generated_by")


def _queries(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "queries.jsonl"
    for number, line in _lines(path):
        try:
            values = json.loads(line)
            yield str(values["_id"]), str(values["text"])
        except (ValueError, KeyError, TypeError) as error:
            message = f'{path}:{number}: is not a query: write {{"_id": "q1", "text": "..."}}'
            raise InvalidInput(message) from error


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in _lines(path):
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) == _TREC_COLUMNS:
            del columns[1]
        if len(columns) != _BEIR_COLUMNS:
            message = f"{path}:{number}: has {len(columns)} columns: write query, document and grade, with tabs between"
            raise InvalidInput(message)
        query, document, grade = (column.strip() for column in columns)
        if number == 1 and not grade.lstrip("-").isdigit():
            continue  # headings
        if not grade.lstrip("-").isdigit() or int(grade) > MAX_GRADE:
            message = f"{path}:{number}: the grade {grade[:20]!r} is not a whole number up to {MAX_GRADE}"
            raise InvalidInput(message)
        yield query, document, int(grade)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise InvalidInput(message) from error
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8"
        raise InvalidInput(message) from error
