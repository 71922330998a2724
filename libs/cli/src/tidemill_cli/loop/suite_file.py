"""Files of trusted cases: JSON lines of id, question, reference and labels."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tidemill_cli.loop.problems import Problem, nearest, spell
from tidemill_cli.loop.suites import Case


class SuiteFile:
    """One file of cases. Reading it may raise OSError or UnicodeDecodeError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cases(self) -> list[Case]:
        """Return the cases of a valid file."""
        return [case for case in self._read() if isinstance(case, Case)]

    def problems(self) -> list[Problem]:
        """Return all problems, each with its line."""
        found = list(self._read())
        problems = [each for each in found if isinstance(each, Problem)]
        if not found:
            problems.append(self._problem(1, 1, "cases", "the file holds no cases"))
        return problems

    def _read(self) -> Iterator[Case | Problem]:
        seen: dict[str, int] = {}
        for number, line in enumerate(self._path.read_text(encoding="utf-8").split("\n"), start=1):
            if not line.strip():
                continue
            for read in self._line(number, line):
                if isinstance(read, Case) and seen.setdefault(read.id, number) != number:
                    yield self._problem(number, 1, "id", f"{read.id!r} is the id of line {seen[read.id]}, too")
                else:
                    yield read

    def _line(self, number: int, line: str) -> Iterator[Case | Problem]:
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            yield self._problem(number, error.colno, "(json)", f"is not JSON: {error.msg}")
            return
        try:
            yield Case.model_validate(values)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                message = details["msg"]
                if details["type"] == "extra_forbidden":
                    message = f"unknown key{nearest(str(details['loc'][-1]), list(Case.model_fields))}"
                elif details["type"] == "missing":
                    message = "is required"
                yield self._problem(number, 1, spell(details["loc"]), message)

    def _problem(self, line: int, column: int, path: str, message: str) -> Problem:
        return Problem(file=str(self._path), line=line, column=column, path=path, message=message)
