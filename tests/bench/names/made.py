"""Labelled sentences: templates filled with names. What is learnt from and what is measured share no word of a name.

A name is measured on where all its words (from four letters on) fall into a fifth of all words by their checksum, and
learnt from where none does and none is a word of the hand-written names of `tests.bench._names`.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import yaml

from tests.bench import _names
from tests.bench._labelled import Found, Line
from tests.environments import installed

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[2] / ".tidemill" / "bench" / "names"
PARTS, LETTERS = 5, 4
KINDS: Mapping[str, str] = {
    "person": "person",
    "given": "person",
    "family": "person",
    "place": "place",
    "organisation": "organisation",
}
_FIELD = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[^\W\d_]+")


def collected() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return what `collect.py` prints in its environment, which is installed where it is not there."""
    python = installed(HERE / "requirements.lock", ENVIRONMENT) / "python"
    done = subprocess.run([python, HERE / "collect.py"], check=True, stdout=subprocess.PIPE)  # noqa: S603 - ours
    found: Mapping[str, Mapping[str, Sequence[str]]] = json.loads(done.stdout)
    return found


@cache
def sentences() -> Mapping[str, Mapping[str, Any]]:
    """Return the templates by language, and what invented words are made of."""
    loaded: Mapping[str, Mapping[str, Any]] = yaml.safe_load((HERE / "sentences.yaml").read_text(encoding="utf-8"))
    return loaded


def words(name: str) -> list[str]:
    """Return the words of a name that say whose it is."""
    return [word.lower() for word in _WORD.findall(name) if len(word) >= LETTERS]


def is_held_out(word: str) -> bool:
    """Return whether a word is measured on."""
    return crc32(word.encode()) % PARTS == 0


WRITTEN = {word for kinds in _names.NAMES.values() for of in kinds.values() for name in of for word in words(name)}


class Made:
    """Sentences of one language, either those to learn from or those to measure on."""

    def __init__(self, language: str, names: Mapping[str, Sequence[str]], *, held_out: bool, random: Random) -> None:
        self.language, self._held_out, self._random = language, held_out, random
        given = sentences()[language]
        prefix = "held_out" if held_out else ""
        self.templates: Sequence[str] = given[prefix or "train"]
        self.plain: Sequence[str] = given[f"{prefix}_plain".strip("_")]
        self._organisations: Sequence[str] = given[f"{prefix}_organisations".strip("_")]
        self._titles, self._academic = given["titles"], given["academic"]
        self._names = {kind: self._ours(of) for kind, of in names.items() if kind not in {"day", "month", "said"}}
        self._dates = {kind: names[kind] for kind in ("day", "month")}
        self.said = [text for text in names["said"] if is_held_out(text) is held_out]

    def _ours(self, names: Sequence[str]) -> Sequence[str]:
        if self._held_out:
            return [name for name in names if words(name) and all(map(is_held_out, words(name)))]
        return [name for name in names if not any(is_held_out(word) or word in WRITTEN for word in words(name))]

    @cached_property
    def _roots(self) -> Sequence[str]:
        return [root for root in sentences()["invented"]["roots"] if is_held_out(root) is self._held_out]

    def line(self, template: str) -> Line:
        """Return a sentence with a name in each place; names side by side are one."""
        text, labels, end = "", list[Found](), 0
        for field in _FIELD.finditer(template):
            text += template[end : field.start()]
            value, end = self._value(field[1]), field.end()
            if kind := KINDS.get(field[1]):
                stop = len(text) + len(value.rstrip("."))
                begins = labels.pop()[0] if text.endswith(" ") and _adjoins(labels, len(text) - 1, kind) else len(text)
                labels.append((begins, stop, kind))
            text += value
        return Line(self.language, text + template[end:], frozenset(labels))

    def _value(self, field: str) -> str:
        random = self._random
        if field == "number":
            return str(random.randint(2, 900))
        if field == "title":
            return str(random.choice(self._titles))
        if field in self._dates:
            return random.choice(self._dates[field])
        if field in {"given", "family"}:
            return random.choice(self._names[field])
        return {"person": self._person, "place": self._place, "organisation": self._organisation}[field]()

    def _person(self) -> str:
        random, given, family = self._random, self._names["given"], self._names["family"]
        name = f"{random.choice(given)} {random.choice(family)}"
        way = random.random()
        if self.language in {"es", "pt"} and way > 0.5:
            name += f" {random.choice(family)}"
        elif way < 0.06:
            return f"{random.choice(self._academic)} {name}"
        elif way < 0.12:
            return f"{random.choice(given)}-{name}"
        elif way < 0.18:
            return f"{name}-{random.choice(family)}"
        return name

    def _place(self) -> str:
        way = self._random.random()
        kind = "town" if way < 0.6 else "large" if way < 0.8 else "country"
        return self._random.choice(self._names[kind])

    def _organisation(self) -> str:
        pattern = self._random.choice(self._organisations)
        return _FIELD.sub(lambda field: self._of_organisation(field[1]), pattern)

    def _of_organisation(self, field: str) -> str:
        if field != "word":
            return self._value(field)
        roots = (self._random.choice(self._roots) for _ in range(self._random.choice((1, 1, 2))))
        ending: str = self._random.choice(sentences()["invented"]["endings"])
        return ("".join(roots) + ending).capitalize()


def _adjoins(labels: Sequence[Found], stop: int, kind: str) -> bool:
    return bool(labels) and labels[-1][1:] == (stop, kind)


def held_out_lines(names: Mapping[str, Mapping[str, Sequence[str]]], *, rounds: int, seed: int) -> Iterator[Line]:
    """Yield the sentences that are measured on: each template so many times, and as many without a name."""
    random = Random(seed)  # noqa: S311 - the same lines each time
    for language, of in names.items():
        made = Made(language, of, held_out=True, random=random)
        for _ in range(rounds):
            yield from map(made.line, (*made.templates, *made.plain))
        yield from (Line(language, text, frozenset()) for text in made.said)
