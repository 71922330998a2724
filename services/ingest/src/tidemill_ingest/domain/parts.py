"""The parts of a version as bytes: their masking, their content hash, and a look at them that trusts nobody."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tidemill_ingest.domain.example import Example, normalised


def canonical(example: dict[str, Any]) -> str:
    """Return the line that is stored of an example of the contract."""
    return json.dumps(example, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def masked(example: Example, mask: Callable[[str], str]) -> Example:
    """Return the example with every text of it masked: the question, the messages and the output."""
    written = json.loads(example.line)
    written["question"] = mask(example.question)
    for message in (*written.get("messages", ()), written["output"]):
        for part in message.get("parts", ()):
            if part.get("text"):
                part["text"] = mask(part["text"])
    return replace(example, question=written["question"], answer=text_of(written["output"]), line=canonical(written))


def lines_of(examples: Sequence[Example]) -> bytes:
    """Return the canonical JSON lines of the examples, in their order."""
    return "".join(f"{each.line}\n" for each in examples).encode()


def content_digest(train: bytes, held_out: bytes) -> str:
    """Return the content hash of a version: sha256 over both parts, each after a line with its name."""
    return hashlib.sha256(b"train\n" + train + b"held_out\n" + held_out).hexdigest()


def shared_between(train: bytes, held_out: bytes) -> int:
    """Count the normalised questions and answers that occur in both parts, by what the bytes themselves say."""
    trained, tested = _texts(train), _texts(held_out)
    return sum(len(ours & theirs) for ours, theirs in zip(trained, tested, strict=True))


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message of the contract, as JSON has it."""
    return "\n".join(part["text"] for part in message.get("parts", ()) if part.get("text"))


def _texts(part: bytes) -> tuple[set[str], set[str]]:
    found = [json.loads(line) for line in part.decode().split("\n") if line]
    questions = {normalised(each.get("question", "")) for each in found}
    return questions, {normalised(text_of(each.get("output", {}))) for each in found}
