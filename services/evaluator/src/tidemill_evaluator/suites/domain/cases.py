"""Cases (questions with references), and sets of cases."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from heapq import nsmallest

from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.resources import label_violations
from tidemill_core.words import folded, words_of
from tidemill_evaluator.suites.domain.expectations import Expectation, expectation_violations
from tidemill_evaluator.suites.domain.limits import Limits

SHOWN = 20
"""Maximum number of invalid cases in an error."""
MAX_GRADE = 100
PAIR = "tidemill.dev/pair"
"""The label that cases share which differ in a group of people only; they are one observation."""

VARIANT_OF = "tidemill.dev/variant_of"
OWN_LABELS = "tidemill.dev/"
"""What labels begin with that say what a case is."""
"""The label of a case that asks what another one asks: the id of that one; they are one observation."""


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message before a question."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Context of a question: earlier turns, prompt variables, and the reader groups for retrieval."""

    earlier: tuple[Turn, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    principals: tuple[str, ...] = ()

    @property
    def image(self) -> list[object]:
        """Return a form for digests; empty for an empty context."""
        turns = [[turn.role.value, _normal(turn.text)] for turn in self.earlier]
        given: list[object] = [turns, dict(self.variables), sorted(self.principals)]
        return given if any(given) else []

    @property
    def values_text(self) -> str:
        """The variables as JSON; "" without any."""
        return _image_of(dict(self.variables)) if self.variables else ""


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """A version of a document that a text rests on; `collection` names that of another project, "" an own one."""

    document: str
    version: int
    collection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How relevant a document is to a question; 0 is not relevant."""

    document: str
    grade: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with its reference answer, with judgements of documents, or with both; or one without an answer."""

    id: str
    question: str
    reference: str
    judgements: tuple[Judgement, ...] = ()
    unanswerable: bool = False
    """No document answers it: a search should find nothing."""
    expect: Expectation | None = None
    """What an answer has to be."""
    schema: Mapping[str, object] | None = None
    """JSON Schema that answers have to follow."""
    code_tests: str = ""
    """Python that has to run after the code of an answer."""
    labels: Mapping[str, str] = field(default_factory=dict)
    context: Context = field(default_factory=Context)
    proposal: str = ""
    """The proposal that a suite took it from; "" where it was sent."""
    end_user: str = ""
    """Who asked it, of a case from live traffic: erased with that person."""
    corrected_by: str = ""
    """Who wrote its reference, where that is another end user: erased with that person as well."""
    owner: str = ""
    """The project that shares its dataset, whose end users they are; "" for the own one."""
    rests_on: tuple[DocumentVersion, ...] = ()
    """What the answer rested on that a case was made of, or what it was generated from: erased with it."""

    @property
    def relevant(self) -> Mapping[str, int]:
        """The grades of the relevant documents."""
        return {each.document: each.grade for each in self.judgements if each.grade > 0}

    def is_of(self, end_user: str) -> bool:
        """Return whether this end user has asked it or wrote its reference."""
        return end_user in {self.end_user, self.corrected_by}

    @property
    def comparable(self) -> bool:
        """Whether answers can be compared: with a reference, by its schema or tests, or by what it expects."""
        checked = self.schema is not None or self.expect is not None or bool(self.code_tests.strip())
        return checked or bool(self.reference.strip())

    @property
    def asked(self) -> str:
        """Key of the question, ignoring case, white space and the final mark.

        The same question after other turns, or with other variables, has another key.
        """
        turns = [_folded(turn.text) for turn in self.context.earlier if turn.role is not Role.SYSTEM]
        given = [self.context.values_text] if self.context.variables else []
        return "\n".join([*turns, *given, _folded(self.question)])

    @property
    def asked_of(self) -> str:
        """Key of the question with its system turns and readers: with others, another answer may be the right one."""
        system = [_normal(turn.text) for turn in self.context.earlier if turn.role is Role.SYSTEM]
        return _image_of([self.asked, system, sorted(set(self.context.principals))])


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSet:
    """An immutable set of cases: a suite version or the held-out split of a dataset version."""

    suite: str = ""
    dataset: str = ""
    number: int
    size: int
    """Number of cases used."""
    content: ObjectRef
    whole: int = 0
    """Number of cases in the object if sampled, else 0."""

    @property
    def name(self) -> str:
        """Name in comparisons and results."""
        if self.suite:
            return f"suite:{self.suite}@{self.number}"
        return f"dataset:{self.dataset}@{self.number}:held_out"

    def at_most(self, size: int) -> "CaseSet":
        """Return the set, sampled to at most `size` cases."""
        return self if self.size <= size else replace(self, size=size, whole=self.size)


def sample_of(cases: Sequence[Case], size: int) -> Sequence[Case]:
    """Return a deterministic sample in the original order: the `size` ids with the lowest sha256."""
    lowest = nsmallest(size, cases, key=lambda case: hashlib.sha256(case.id.encode()).digest())
    chosen = {case.id for case in lowest}
    return [case for case in cases if case.id in chosen]


def with_origins(cases: Sequence[Case], known: Sequence[Case], *, keep: bool) -> Sequence[Case]:
    """Return the cases that are sent with what is known of where those of the same ids come from.

    `keep` adds the known ones of proposals that are not sent.
    """
    origins = {case.id: case for case in known if case.proposal}
    sent = [_as_from(case, origins[case.id]) if case.id in origins else case for case in cases]
    ids = {case.id for case in cases}
    return [*sent, *(case for name, case in origins.items() if name not in ids)] if keep else sent


def _as_from(case: Case, known: Case) -> Case:
    return replace(
        case,
        proposal=known.proposal,
        end_user=known.end_user,
        corrected_by=known.corrected_by,
        rests_on=known.rests_on,
    )


def check_cases(cases: Sequence[Case], limits: Limits, *, stored: int = 0) -> None:
    """Validate cases; errors do not repeat texts.

    The first `stored` ones are a suite's already: those that contradict one another stay.

    Raises:
        InvalidInput: naming field, value and limit, of the first broken cases.

    """
    if not 1 <= len(cases) <= limits.cases:
        raise InvalidInput.at(field="suite.cases", text=f"has {len(cases)} cases: send 1 to {limits.cases}")
    violations = [*_violations(cases, limits), *_contradictions(cases, stored)]
    if violations:
        raise InvalidInput.of(*violations[:SHOWN])


def schema_text(case: Case) -> str:
    """Return the schema of a case as JSON; "" without one."""
    return "" if case.schema is None else _image_of(dict(case.schema))


def digest_of(cases: Sequence[Case]) -> str:
    """Return the content digest, independent of the order of cases and labels and of the Unicode form."""
    image = [
        [
            case.id,
            _normal(case.question),
            _normal(case.reference),
            *sorted(map(list, case.labels.items())),
            *case.context.image,
            *sorted([each.document, each.grade] for each in case.judgements),
            *(["unanswerable"] if case.unanswerable else []),
            *([case.expect.image] if case.expect else []),
            *(["schema", dict(case.schema)] if case.schema is not None else []),
            *(["code_tests", case.code_tests] if case.code_tests else []),
        ]
        for case in sorted(cases, key=lambda case: case.id)
    ]
    return hashlib.sha256(_image_of(image).encode()).hexdigest()


def _image_of(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


def _folded(text: str) -> str:
    whole = " ".join(folded(text).split())
    return whole.rstrip(" .?。？") or whole  # noqa: RUF001 - the full-width mark is meant


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def same_reference(one: str, other: str) -> bool:
    """Return whether both have the same words, or one has those of the other in a row, as a sentence and its answer."""
    ours, theirs = (f" {' '.join(words_of(text))} " for text in (one, other))
    if not (ours.strip() and theirs.strip()):
        return one == other or ours == theirs
    return ours in theirs or theirs in ours


def _contradictions(cases: Sequence[Case], stored: int) -> Iterator[Violation]:
    """Yield the cases after the stored ones which contradict an earlier one."""
    first = dict[str, tuple[int, Case]]()
    for number, case in enumerate(cases):
        if not case.reference.strip():
            continue
        place, known = first.setdefault(case.asked_of, (number, case))
        if number >= stored and not same_reference(known.reference, case.reference):
            text = f"is another one than that of cases[{place}] ({known.id}), which has the same question"
            yield Violation(f"suite.cases[{number}].reference", f"{text}: keep one of them")


def _violations(cases: Sequence[Case], limits: Limits) -> Iterator[Violation]:
    seen: set[str] = set()
    for number, case in enumerate(cases):
        where = f"suite.cases[{number}]"
        for name, value, limit in (
            ("id", case.id, limits.case_id_length),
            ("question", case.question, limits.question_length),
            ("reference", case.reference, limits.reference_length),
        ):
            if not value.strip():
                if name != "reference" or not (case.judgements or case.unanswerable or case.comparable):
                    yield Violation(f"{where}.{name}", "is empty")
            elif len(value) > limit:
                yield Violation(f"{where}.{name}", f"has {len(value)} characters; the limit is {limit}")
        yield from _context_violations(case.context, where, limits)
        yield from _judgement_violations(case.judgements, where, limits)
        if case.expect:
            yield from expectation_violations(case.expect, f"{where}.expect", max_length=limits.expectation_length)
        yield from _length_violations(case, where, limits)
        if case.unanswerable and case.relevant:
            text = "is true, and the case has a relevant document: an unanswerable question has none"
            yield Violation(f"{where}.unanswerable", text)
        if case.id in seen:
            yield Violation(f"{where}.id", "is a duplicate: case ids must be unique")
        seen.add(case.id)
        yield from label_violations(f"{where}.labels", case.labels)


def _length_violations(case: Case, where: str, limits: Limits) -> Iterator[Violation]:
    if (size := len(schema_text(case))) > limits.schema_length:
        yield Violation(f"{where}.schema", f"has {size} characters as JSON; the limit is {limits.schema_length}")
    if (size := len(case.code_tests)) > limits.code_tests_length:
        yield Violation(f"{where}.code_tests", f"has {size} characters; the limit is {limits.code_tests_length}")


def _judgement_violations(judgements: Sequence[Judgement], where: str, limits: Limits) -> Iterator[Violation]:
    if len(judgements) > limits.judgements:
        yield Violation(f"{where}.judgements", f"has {len(judgements)} entries; the limit is {limits.judgements}")
    if len({each.document for each in judgements}) != len(judgements):
        yield Violation(f"{where}.judgements", "names a document twice: judge each once")
    for number, judgement in enumerate(judgements[: limits.judgements]):
        if not 1 <= len(judgement.document) <= limits.case_id_length:
            text = f"has {len(judgement.document)} characters; send the id of a document"
            yield Violation(f"{where}.judgements[{number}].document", text)
        if not 0 <= judgement.grade <= MAX_GRADE:
            text = f"is {judgement.grade}: send 1 to {MAX_GRADE}, or 0 for not relevant"
            yield Violation(f"{where}.judgements[{number}].grade", text)


def _context_violations(context: Context, where: str, limits: Limits) -> Iterator[Violation]:
    for number, turn in enumerate(context.earlier):
        if not turn.text.strip():
            yield Violation(f"{where}.earlier[{number}]", "is empty: send text")
    length = sum(len(turn.text) for turn in context.earlier) + len(_image_of(dict(context.variables)))
    if length > limits.context_length:
        text = f"has {length} characters together with the variables; the limit is {limits.context_length}"
        yield Violation(f"{where}.earlier", text)
    if len(context.principals) > limits.principals:
        text = f"has {len(context.principals)} entries; the limit is {limits.principals}"
        yield Violation(f"{where}.principals", text)
    if not all(each.strip() for each in context.principals):
        yield Violation(f"{where}.principals", "has an empty entry: remove it")
