"""A corpus of about a thousand documents from Python's standard library and language reference.

A document is the full name and docstring of a function or class, or one topic of the language reference. Each document
has a question that a newcomer would ask. Uses the standard library only.

`python corpus.py` prints the corpus as JSON. The result depends on the modules that a process has imported, so programs
that need the same corpus run this script.
"""

import contextlib
import importlib
import inspect
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import ModuleType

SHORTEST = 80
"""Minimum characters of a docstring."""
LIBRARY_DOCUMENTS = 920
SENTENCE_END = re.compile(r"(?<=[.!?])\s")
SKIPPED = {"antigravity", "idlelib", "lib2to3", "pip", "test", "this", "tkinter", "turtle", "turtledemo"}
"""Modules with side effects on import, or without documentation."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a content system would publish it."""

    key: str
    title: str
    media_type: str
    text: str
    area: str

    @property
    def question(self) -> str:
        """The question that a newcomer would ask."""
        return f"What does {self.title} do in Python?"

    @property
    def answer(self) -> str:
        """The reference answer: the first sentence of the docstring."""
        paragraph = self.text.partition("\n\n")[2].partition("\n\n")[0]
        return SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0].rstrip(".:") + "."


def documents() -> list[Document]:
    """Return the corpus: the same documents in the same order for the same interpreter."""
    return [*_library(), *_reference()]


def questions(corpus: list[Document], count: int) -> list[Document]:
    """Return `count` library documents, evenly spread, whose questions are asked."""
    library = [document for document in corpus if document.area != "reference"]
    step = len(library) / count
    return [library[int(index * step)] for index in range(count)]


def trusted(corpus: list[Document], count: int, *, without: list[Document]) -> list[Document]:
    """Return `count` other library documents for trusted cases, whose answers are not in the feedback."""
    taught = {document.answer for document in without}
    rest = [document for document in corpus if document.area != "reference" and document.answer not in taught]
    step = len(rest) / count
    return [rest[int(index * step)] for index in range(count)]


def _library() -> list[Document]:
    found = list(_documented())
    step = max(1.0, len(found) / LIBRARY_DOCUMENTS)
    return [found[int(index * step)] for index in range(min(LIBRARY_DOCUMENTS, len(found)))]


def _documented() -> Iterator[Document]:
    seen = set()
    for module in _modules():
        for name in sorted(getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]):
            thing = getattr(module, name, None)
            if not (inspect.isroutine(thing) or inspect.isclass(thing)):
                continue
            if getattr(thing, "__module__", None) not in {module.__name__, None}:
                continue
            text = (inspect.getdoc(thing) or "").strip()
            if len(text) < SHORTEST or text in seen:
                continue
            seen.add(text)
            title = f"{module.__name__}.{name}"
            yield Document(f"library/{title}", title, "text/plain", f"{title}\n\n{text}\n", module.__name__)


def _modules() -> Iterator[ModuleType]:
    for name in sorted(sys.stdlib_module_names - SKIPPED):
        module = None if name.startswith("_") else _imported(name)
        if module:
            yield module


def _imported(name: str) -> ModuleType | None:
    """Import a module quietly; one that does not fit this platform has no documentation here."""
    with warnings.catch_warnings(), contextlib.suppress(ImportError), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # deprecated modules are documented too
        return importlib.import_module(name)
    return None


def _reference() -> Iterator[Document]:
    topics = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        yield Document(f"reference/{name}", name, "text/markdown", f"# {name}\n\n{text.strip()}\n", "reference")


if __name__ == "__main__":
    print(json.dumps({"documents": [asdict(document) for document in documents()]}))  # noqa: T201 - the program's result
