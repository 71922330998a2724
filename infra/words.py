"""Finds words that the glossary has better ones for, in prose and in names.

`python infra/words.py` prints each with its place. With `--count` it prints how many each file has; `--only prose` or
`--only names`, and paths, narrow what is read.
"""

import argparse
import ast
import gc
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.remembered import Remembered  # noqa: E402 - this is run by path, too

GLOSSARY = ROOT / "docs/glossary.md"
NOT_OURS = ("libs/contracts/", "protos/examples/", "LICENSE", "docs/glossary.md")
"""Generated or quoted text, and the glossary itself."""

_LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
_WORD = re.compile(r"\w+")
_WORD_OF_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|[0-9]+")
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`|https?://\S+|\]\([^)]*\)|<[^>\n]*>")
_COMMENT_OR_STRING = re.compile(
    r"""(?P<comment>\#[^\n]*)|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
_COMMENT = {".proto": "//", ".yaml": "#", ".yml": "#", ".toml": "#", "": "#"}
_LEAVES = (ast.Name, ast.Constant, ast.alias)
"""More than half of all nodes; they hold no others but marks."""
_SENTENCE = 3
"""Strings of fewer words are keys, patterns or formats."""


@dataclass(frozen=True)
class Found:
    """A word that the glossary has a better one for, and where it stands."""

    path: str
    line: int
    kind: str
    text: str
    instead: str

    def __str__(self) -> str:
        """Return a line as compilers print it."""
        return f"{self.path}:{self.line}: {self.kind}: '{self.text}': {self.instead}"


class Glossary:
    """The tables of the glossary, as patterns."""

    def __init__(self, text: str) -> None:
        _, _, tables = text.partition("\n## Not, but\n")
        avoided, _, kept = tables.partition("\n## What stays\n")
        self._kept = {word for cells in _rows(kept) for word in _quoted(cells[0])}
        self._words, self._affixes, self._exact = dict[str, str](), dict[str, str](), dict[str, str]()
        prose = dict[str, str]()
        for not_, but, where in _rows(avoided):
            for term in _quoted(not_):
                if "prose" in where:
                    prose[term] = but
                if "names" in where and " " not in term:
                    self._table(term)[term] = but
        self._prose = prose
        self._pattern = re.compile(r"\b(" + "|".join(sorted(prose, key=len, reverse=True)) + r")\b", re.IGNORECASE)
        stays = (re.escape(word) for word in sorted(self._kept, key=len, reverse=True))
        self._innocent = re.compile(r"\b(" + "|".join(stays) + r")\b", re.IGNORECASE)
        self._begins = {_WORD.findall(term)[0] for term in prose}
        self._known_names = dict[str, tuple[str, str] | None]()

    def _table(self, term: str) -> dict[str, str]:
        if "*" in term:
            return self._affixes
        return self._words if term.islower() else self._exact

    def in_prose(self, text: str) -> Iterator[tuple[int, str, str]]:
        """Yield what a text should not say: the offset, the word and what to say instead."""
        if self._begins.isdisjoint(_WORD.findall(text.lower())):  # most texts, in a tenth of the time
            return
        blank = _CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
        blank = self._innocent.sub(lambda m: " " * len(m[0]) if " " in m[0] or "-" in m[0] else m[0], blank)
        for match in self._pattern.finditer(blank):
            yield match.start(), match[0], self._prose[match[0].lower()]

    def in_name(self, name: str) -> tuple[str, str] | None:
        """Return the word that a name should not have, and what to say instead."""
        if name not in self._known_names:  # most names are those of many files
            self._known_names[name] = self._judge(name)
        return self._known_names[name]

    def _judge(self, name: str) -> tuple[str, str] | None:
        if name in self._kept:
            return None
        if name.startswith("test_"):
            sentence = self.in_prose(name.removeprefix("test_").replace("_", " "))
            return next(((word, instead) for _, word, instead in sentence), None)
        if name in self._exact:
            return name, self._exact[name]
        words = [word.lower() for word in _WORD_OF_NAME.findall(name)]
        if found := next((word for word in words if word in self._words), None):
            return found, self._words[found]
        plain = name.strip("_").lower()
        for affix, but in self._affixes.items():
            begins, part = affix.endswith("*"), affix.strip("*")
            if plain not in self._kept and (plain.startswith(part) if begins else plain.endswith(part)):
                return affix, but
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is tracked and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders; all that are tracked by default")
    parser.add_argument("--count", action="store_true", help="print how many words each file has")
    parser.add_argument("--only", choices=["prose", "names"])
    options = parser.parse_args(arguments)
    gc.disable()  # trees have no cycles, and collections would visit each a dozen times
    found = [each for each in _all_found(options.paths) if options.only in {None, each.kind}]
    if options.count:
        counts = Counter(each.path for each in found)
        lines = [f"{count:5} {path}" for path, count in counts.most_common()]
        sys.stdout.write("\n".join([*lines, f"{len(found):5} in all", ""]))
        return 0
    sys.stdout.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


def _all_found(paths: Sequence[str]) -> Iterator[Found]:
    glossary, known = Glossary(GLOSSARY.read_text()), Remembered("words", GLOSSARY, Path(__file__))

    def rows(name: str, text: str) -> list[tuple[object, ...]]:
        return [astuple(each) for each in check(ROOT / name, text, glossary)]

    for name in _tracked(paths):
        for row in known.of(name, (ROOT / name).read_text(), rows):
            yield Found(*row)
    if not paths:
        known.keep()


def check(path: Path, text: str, glossary: Glossary) -> Iterator[Found]:
    """Yield what one file should say otherwise."""
    name = str(path.relative_to(ROOT))
    nodes: list[ast.AST] = []
    if path.suffix == ".md":
        texts = [(1, re.sub(r"^```.*?^```", _blank, text, flags=re.MULTILINE | re.DOTALL))]
    elif path.suffix == ".py":
        nodes = _nodes(ast.parse(text))
        texts = [*_comments(text), *_sentences(nodes, strings="/tests/" not in name)]
    else:
        mark = _COMMENT[path.suffix]
        texts = [(at, line.partition(mark)[2]) for at, line in enumerate(text.splitlines(), start=1) if mark in line]
    for line, prose in texts:
        for offset, word, instead in glossary.in_prose(prose):
            yield Found(name, line + prose.count("\n", 0, offset), "prose", word, instead)
    names = [(1, path.stem), *_names(nodes)] if nodes else []
    for line, each in dict.fromkeys(names):
        if bad := glossary.in_name(each):
            yield Found(name, line, "names", each, bad[1])


def _tracked(paths: Sequence[str]) -> Iterator[str]:
    listed = subprocess.run(  # noqa: S603 - our own command
        ["git", "ls-files", "-z", "--", *paths],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        known = path.suffix in {".md", ".py", *_COMMENT} - {""} or path.name in {"Makefile", "Dockerfile"}
        if name and known and not name.startswith(NOT_OURS) and path.is_file():
            yield name


def _nodes(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree that hold something, in a fraction of the time of `ast.walk`."""
    nodes = [tree]
    for node in nodes:
        if isinstance(node, _LEAVES):
            continue
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                if value._fields:  # not a mark such as Load
                    nodes.append(value)
            elif isinstance(value, list):
                nodes += [each for each in value if isinstance(each, ast.AST) and each._fields]
    return nodes


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield what the comments of a module say, each with its line."""
    line, counted = 1, 0
    for match in _COMMENT_OR_STRING.finditer(text):
        if match["comment"] and not match[0].startswith("#!"):
            line, counted = line + text.count("\n", counted, match.start()), match.start()
            yield line, match[0].partition("noqa:")[0]


def _sentences(nodes: Sequence[ast.AST], *, strings: bool) -> Iterator[tuple[int, str]]:
    """Yield docstrings, and the sentences in other strings."""
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (id(node) in docs or (strings and len(node.value.split()) >= _SENTENCE))
        ):
            yield node.lineno, node.value


def _names(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the names that a module defines, and its log events."""
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(asname)):
                yield node.lineno, asname
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(event)), *_]):
                if attr in _LOG_METHODS and re.fullmatch(r"[a-z]+(_[a-z]+)*", event):
                    yield node.lineno, event
            case _:
                pass


def _rows(table: str) -> Iterator[list[str]]:
    for line in table.splitlines():
        if line.startswith("| ") and "`" in line:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


if __name__ == "__main__":
    sys.exit(main())
