"""The parts of a version as bytes: their masking, their content hash, and a check that does not trust them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tidemill_ingest.datasets.domain.example import Example, common_answers, normalised
from tidemill_ingest.limits import COMMON_FROM

_NAMES = frozenset(
    {
        *("id", "inference", "feedback", "end_user", "asked_by", "principals", "observe_time", "kind", "role"),
        *("passage", "document", "source", "key", "uri", "also_in", "collection"),
    }
)
"""What an example has of ids, pseudonyms, times and kinds, and of names of documents: no texts of people."""


def canonical(example: dict[str, Any]) -> str:
    """Return the line that is stored of an example of the contract."""
    return json.dumps(example, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def masked(example: Example, mask: Callable[[str], str]) -> Example:
    """Return the example with every text of it masked; names that the platform gives stay as they are."""
    line = json.loads(example.line)
    written = {name: value if name in _NAMES else _masked(value, mask, _NAMES) for name, value in line.items()}
    if "variables" in written:
        written["variables"] = _masked(line["variables"], mask, frozenset())
    return replace(
        example,
        question=written["question"],
        answer=text_of(written["output"]),
        rejected=text_of(written.get("rejected", {})),
        context=context_of(written),
        line=canonical(written),
    )


def context_of(written: dict[str, Any]) -> str:
    """Return what was said before the question, and given with it, normalised; "" where nothing was.

    Where the example does not say what was said before, it is what the model saw before its last message; rules of the
    system are no turns.
    """
    earlier = written.get("earlier") or written.get("messages", ())[:-1]
    turns = [normalised(text_of(each)) for each in earlier if each.get("role") != "ROLE_SYSTEM"]
    given = written.get("variables")
    return "\n".join([*turns, *([normalised(canonical(given))] if given else [])])


def lines_of(examples: Sequence[Example]) -> bytes:
    """Return the canonical JSON lines of the examples, in their order."""
    return "".join(f"{each.line}\n" for each in examples).encode()


def content_digest(train: bytes, held_out: bytes) -> str:
    """Return the content hash of a version: sha256 over both parts, each after a line with its name."""
    return hashlib.sha256(b"train\n" + train + b"held_out\n" + held_out).hexdigest()


def shared_between(train: bytes, held_out: bytes, *, common_from: int = COMMON_FROM) -> int:
    """Count the normalised questions and answers that occur in both parts, by what the bytes themselves say.

    Common answers do not count; see `divide`.
    """
    trained, tested = _texts(train), _texts(held_out)
    questions = {asked for asked, _ in trained} & {asked for asked, _ in tested}
    answers = {answered for _, answered in trained} & {answered for _, answered in tested}
    return len(questions) + len(answers - common_answers((*trained, *tested), common_from))


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message of the contract, as JSON has it."""
    return "\n".join(part["text"] for part in message.get("parts", ()) if part.get("text"))


def _masked(value: Any, mask: Callable[[str], str], names: frozenset[str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(each, mask, names) for each in value]
    if isinstance(value, dict):
        return {name: each if name in names else _masked(each, mask, names) for name, each in value.items()}
    return value


def _texts(part: bytes) -> list[tuple[str, str]]:
    """Return question and answer of each line, normalised."""
    found = [json.loads(line) for line in part.decode().split("\n") if line]
    return [
        (f"{context_of(each)}\n{normalised(each.get('question', ''))}", normalised(text_of(each.get("output", {}))))
        for each in found
    ]
