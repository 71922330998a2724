"""The labelled lines that masking is measured on."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.stage import MaskingStage

# Put together from parts, so that no scanner takes this file for a leak.
SECRETS = {
    "AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "GITHUB": "ghp_" + "a1B2" * 9,
    "STRIPE": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "SLACK": "xoxb-" + "123456789012-" + "abcdefABCDEF1234",
    "OPENAI": "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "DOCKER": "dckr_pat_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ1",
    "GOOGLE": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "JWT": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
}
_LABEL = re.compile(r"⟦(\w+):(.*?)⟧", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8}))")


@dataclass(frozen=True, slots=True)
class Line:
    """A text, and what is expected of it: each identifier replaced."""

    text: str
    masked: str
    kinds: tuple[str, ...]


def lines() -> Iterator[Line]:
    """Yield the labelled lines."""
    for raw in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        if not raw or raw.startswith("#: "):
            continue
        line = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), raw).replace(r"\n", "\n")
        line = re.sub(r"\{([A-Z]+)\}", lambda match: SECRETS[match[1]], line)
        yield Line(
            text=_LABEL.sub(lambda match: match[2], line),
            masked=_LABEL.sub(lambda match: f"[{match[1].upper()}]", line),
            kinds=tuple(match[1] for match in _LABEL.finditer(line)),
        )


@dataclass(slots=True)
class Measured:
    """Counts of one kind, and the lines that went wrong."""

    labelled: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def recall(self, kind: str) -> float:
        return self.found[kind] / self.labelled[kind]

    def precision(self, kind: str) -> float:
        return self.found[kind] / (self.found[kind] + self.wrong[kind])


def measured() -> Measured:
    """Return how many identifiers were replaced, whole and by their own kind, and what else was."""
    counts = Measured()
    for line in lines():
        masked = MaskingStage(Masking()).mask(line.text)
        expected, there = (
            Counter(line.kinds),
            Counter(re.findall(r"\[(CARD|CREDENTIAL|EMAIL|IBAN|IP|NATIONAL_ID|PHONE)\]", masked)),
        )
        right = masked == line.masked
        for kind in MASK_KINDS:
            placed = there[kind.upper()]
            hits = expected[kind] if right else min(placed, expected[kind]) if _around(line, masked, kind) else 0
            counts.labelled[kind] += expected[kind]
            counts.found[kind] += hits
            counts.wrong[kind] += placed - min(placed, hits)
        if not right:
            counts.missed.append(f"{line.text!r} -> {masked!r}")
    return counts


MASK_KINDS = ("card", "credential", "email", "iban", "ip", "national_id", "phone")


def _around(line: Line, masked: str, kind: str) -> bool:
    """Return whether what this kind replaced is what was labelled, where another kind went wrong in the same line."""
    return all(f"[{kind.upper()}]{after[:3]}" in masked for after in line.masked.split(f"[{kind.upper()}]")[1:])
