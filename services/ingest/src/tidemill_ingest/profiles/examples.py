"""Count the examples of a dataset version, in processes of their own."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill_ingest.limits import MEBIBYTE
from tidemill_ingest.masking.kinds import MaskKind
from tidemill_ingest.processes import Processes
from tidemill_ingest.profiles.domain.profile import NO_COHORT
from tidemill_ingest.profiles.domain.sketch import Distribution, Sketch
from tidemill_ingest.profiles.domain.versions import UNKNOWN
from tidemill_ingest.profiles.ports import ExampleLabels

_PLACEHOLDER = re.compile(r"\[([A-Z_]{2,20})(?::[^\[\]\s]{1,64})?\]")
_WITHIN = 100_000
"""Characters of a question or an answer that are measured."""


def sketch_of_lines(split: str, lines: bytes, kinds: frozenset[str], labels: ExampleLabels) -> Sketch:
    """Return what JSON lines of a split say together.

    `kinds` are those of identifiers, whose placeholders are counted in masked texts.
    """
    sketch = Sketch()
    for line in lines.split(b"\n"):
        if line.strip():
            example = json.loads(line)
            _add(sketch, split, example, kinds, labels.get(example.get("id"), ()))
    return sketch


class ProcessExamples:
    """Implements `ports.CountExamples`: a megabyte at a time, so that documents need not wait for all of it."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._kinds = frozenset(kind.value for kind in MaskKind)

    async def __call__(self, project: str, parts: Mapping[str, bytes], labels: ExampleLabels, /) -> Sketch:
        """See `ports.CountExamples`."""
        whole = Sketch()
        for split, data in parts.items():
            for lines in _in_pieces(data):
                whole.merge(await self._processes.run(project, sketch_of_lines, split, lines, self._kinds, labels))
        if whole.end_users:
            whole.numbers["examples_of_end_user"] = Distribution()
            for count in whole.end_users.values():
                whole.numbers["examples_of_end_user"].add(count)
        return whole


def _in_pieces(data: bytes) -> Iterator[bytes]:
    """Yield whole lines, about a megabyte of them at a time."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + MEBIBYTE) + 1 or len(data)
        yield data[start:end]
        start = end


def _add(sketch: Sketch, split: str, example: Mapping[str, Any], kinds: frozenset[str], labels: Sequence[str]) -> None:
    from tidemill_ingest.quality.measuring import traits_of  # noqa: PLC0415 - of the processes only
    from tidemill_kit.texts.language import detected_language  # noqa: PLC0415 - ditto

    question, answer = str(example.get("question", "")), _text_of(example.get("output", {}))
    traits = traits_of(answer, within=_WITHIN)
    user = example.get("asked_by") or example.get("end_user")
    if user:
        sketch.end_users[user] += 1
    if cohort := example.get("cohort"):
        sketch.cohorts[cohort] += 1
    found = Counter(kind for kind in map(str.lower, _PLACEHOLDER.findall(f"{question}\n{answer}")) if kind in kinds)
    passages = example.get("passages", ())
    scores = [float(each["score"]) for each in passages if "score" in each]  # those of curations have none

    def numbers() -> Iterator[tuple[str, float]]:
        yield "question_characters", len(question)
        yield "answer_characters", traits.characters
        yield "answer_words", traits.words
        if traits.readability is not None:
            yield "readability", traits.readability
        yield "identifiers", found.total()
        yield "passages", len(passages)
        if scores:
            yield "best_passage_score", max(scores)

    def categories() -> Iterator[tuple[str, str, int]]:
        yield "split", split, 1
        yield "question_language", detected_language(question[:_WITHIN]) or UNKNOWN, 1
        yield "answer_language", traits.language or UNKNOWN, 1
        yield "cohort", cohort or NO_COHORT, 1
        yield "near_documents", "some" if passages else "none", 1
        yield "reviewed", "yes" if labels else "no", 1
        yield from (("review_labels", each, 1) for each in labels)
        if "label" in example:
            yield "labels", "good" if example["label"] else "bad", 1
        for kind, count in found.items():
            yield "identifiers", kind, count
            yield "with_identifiers", kind, 1
        yield from (("fields", name, 1) for name in _fields(example))

    sketch.add_facts(categories(), numbers(), text=traits.digest, of=question)


def _fields(example: Mapping[str, Any]) -> Sequence[str]:
    said = [name for name in ("earlier", "principals", "asked_by") if example.get(name)]
    return [*said, *(f"variables.{name}" for name in example.get("variables", ()))]


def _text_of(message: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in message.get("parts", ()) if part.get("text"))
