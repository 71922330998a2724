"""Reads and validates loop.yaml; reports all problems at once, with line, expected values and the nearest match."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import ScalarEvent

from tidemill_cli.loop.bounds import OutOfBounds, is_near, outside, parsed_with_scalars
from tidemill_cli.loop.declaration import Loop
from tidemill_cli.loop.dialects import dialect_problems
from tidemill_cli.loop.problems import Document, LoopErrors, Problem, matching, nearest
from tidemill_cli.loop.references import reference_problems, turn_problems
from tidemill_cli.loop.shapes import FromFile
from tidemill_cli.loop.suite_file import SuiteFile


def read_loop(file: Path) -> Loop:
    """Read a loop; `{file: ...}` values are replaced by the files' content.

    Raises:
        LoopErrors: anything is wrong; all of it is named.

    """
    document, scalars = _parse(file)
    problems = [
        *dialect_problems(document, scalars),
        *reference_problems(document),
        *_model_problems(document),
        *_file_problems(document),
    ]
    try:
        loop = Loop.model_validate(dict(document.root))
    except ValidationError as error:
        raise LoopErrors(file, [*problems, *_shape_problems(document, error)]) from None
    problems += turn_problems(document, loop)
    if problems:
        raise LoopErrors(file, problems)
    return _with_files(file, loop)


def _parse(file: Path) -> tuple[Document, list[ScalarEvent]]:
    """Return a file's document, and its plain scalars."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LoopErrors(file, [_at_start("there is no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LoopErrors(file, [_at_start(f"cannot be read as UTF-8 text: {type(error).__name__}")]) from error
    try:
        root, scalars = parsed_with_scalars(text)
    except OutOfBounds as error:
        raise LoopErrors(file, [error.problem]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        raise LoopErrors(
            file, [Problem(line=line + 1, column=column + 1, path="(yaml)", message=str(error.problem or "not YAML"))]
        ) from None
    except (YAMLError, ValueError, LookupError) as error:  # a character that may not be in YAML; a date that is none
        raise LoopErrors(file, [_at_start(f"cannot be read as YAML: {' '.join(str(error).split())}")]) from None
    if not isinstance(root, CommentedMap):
        raise LoopErrors(file, [_at_start("expected a map with apiVersion, kind, metadata and the loop's sections")])
    return Document(file=file, root=root), scalars


def _at_start(message: str) -> Problem:
    return Problem(line=1, column=1, path="(file)", message=message)


def _shape_problems(document: Document, error: ValidationError) -> list[Problem]:
    """Return one problem per location; for a union, that of the member that matched furthest."""
    found: dict[tuple[int, int], tuple[int, Problem]] = {}
    for details in error.errors(include_url=False):
        loc, is_missing = details["loc"], details["type"] == "missing"
        path = tuple(step for step in loc if _in_file(document.root, loc, step, is_missing=is_missing))
        problem = document.problem(path, _explain(details))
        place = (problem.line, len(path)) if problem.path.endswith("]") else (problem.line, problem.column)
        found.setdefault(place, (len(path), problem))
    deepest = {problem for _, problem in found.values()}
    return [p for p in deepest if not any(other.path.startswith(p.path + "[") for other in deepest)]


def _in_file(root: Any, path: tuple[str | int, ...], step: str | int, *, is_missing: bool) -> bool:  # noqa: ANN401 - any YAML value
    """Return whether a step is in the file, or missing there; pydantic also adds steps that name a union's member."""
    node = root
    for current in path:
        if current == "[key]":
            return step != "[key]"
        if isinstance(node, Mapping) and (current in node or (is_missing and current == path[-1])):
            node = node.get(current)
        elif isinstance(node, list) and isinstance(current, int):
            node = node[current] if current < len(node) else None
        elif current == step:
            return False
        if current == step:
            return True
    return True


def _explain(details: ErrorDetails) -> str:
    kind, path, value, context = details["type"], details["loc"], details["input"], details.get("ctx", {})
    if {"api_key", "secret_key", "password"} & set(path):
        return "write {secret: NAME}, where NAME is upper case; a key itself never stands in this file"
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(path[-1]), _allowed_at(path[:-1]))}"
    if kind == "missing":
        return "is required"
    if kind == "string_pattern_mismatch":
        return f"{value!r} is not a name: use lower-case letters, digits, - and _, at most 63 ({context['pattern']})"
    if kind == "literal_error":
        expected = str(context["expected"])
        hint = nearest(str(value), expected.replace("'", "").replace(" or ", ", ").split(", "))
        return f"{value!r} is not allowed{hint}"
    message = details["msg"].removeprefix("Value error, ")
    return f"{message} (found {value!r})" if isinstance(value, str | int | float | bool) else message


def _allowed_at(path: Sequence[str | int]) -> list[str]:
    """Return the valid keys at a path."""
    model: Any = Loop
    for step in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            if step == model.__name__:  # names a member of a union
                continue
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = fields.get(str(step))
        else:
            model = _value_type(model)
        model = _model_of(model)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _model_of(annotation: Any) -> Any:  # noqa: ANN401 - a type annotation
    """Return the model in a union, or the annotation itself."""
    members = [m for m in get_args(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
    is_map = getattr(annotation, "__origin__", None) is dict
    return members[0] if members and not is_map else annotation


def _value_type(annotation: Any) -> Any:  # noqa: ANN401 - a type annotation
    return get_args(annotation)[-1] if get_args(annotation) else None


def _model_problems(document: Document) -> Iterator[Problem]:
    for path, model in matching(document.root, ("models", "*")):
        if not isinstance(model, Mapping) or not isinstance(model.get("source"), str):
            continue
        kind, _, address = model["source"].partition(":")
        if kind == "file" and not is_near(document.file, address):
            yield document.problem((*path, "source"), outside(address))
        elif kind == "file" and not (document.file.parent / address).is_dir():
            yield document.problem(
                (*path, "source"), f"folder {address!r} not found (relative to {document.file.name})"
            )
        if kind == "openai" and "base_url" not in model:
            yield document.problem(
                path, 'base_url is required for openai: models, for example "https://api.openai.com/v1"'
            )
        if kind in {"file", "hf"} and ("base_url" in model or "api_key" in model):
            yield document.problem(path, "base_url and api_key belong to openai: models only")


def _file_problems(document: Document) -> Iterator[Problem]:
    for field in ("system", "user", "variables"):
        for path, part in matching(document.root, ("prompts", "*", field, "file")):
            try:
                text = _text_of(document.file, FromFile(file=str(part)))
                if field == "variables":
                    json.loads(text)
            except json.JSONDecodeError as error:
                yield document.problem(path, f"{part!r} is not JSON: {error.msg} at line {error.lineno}")
            except (OSError, ValueError):
                yield document.problem(path, f"{part!r} is not a readable UTF-8 file beside {document.file.name}")
    for path, part in matching(document.root, ("suites", "*", "cases", "file")):
        if not is_near(document.file, str(part)):
            yield document.problem(path, outside(str(part)))
            continue
        try:
            yield from SuiteFile(document.file.parent / str(part)).problems()
        except (OSError, ValueError):
            yield document.problem(path, f"{part!r} is not a readable UTF-8 file beside {document.file.name}")


def _with_files(file: Path, loop: Loop) -> Loop:
    """Replace `{file: ...}` values by the files' content, and make the paths of models absolute."""
    prompts = {
        name: prompt.model_copy(
            update={
                "system": _text_of(file, prompt.system),
                "user": _text_of(file, prompt.user),
                "variables": json.loads(_text_of(file, prompt.variables))
                if isinstance(prompt.variables, FromFile)
                else prompt.variables,
            }
        )
        for name, prompt in loop.prompts.items()
    }
    models = {
        name: model.model_copy(update={"source": f"file:{(file.parent / model.source[5:]).resolve()}"})
        if model.source.startswith("file:")
        else model
        for name, model in loop.models.items()
    }
    suites = {
        name: suite.model_copy(update={"cases": SuiteFile(file.parent / suite.cases.file).cases()})
        if isinstance(suite.cases, FromFile)
        else suite
        for name, suite in loop.suites.items()
    }
    return loop.model_copy(update={"prompts": prompts, "models": models, "suites": suites})


def _text_of(file: Path, part: str | FromFile) -> str:
    if isinstance(part, str):
        return part
    target = (file.parent / part.file).resolve()
    if not target.is_relative_to(file.parent.resolve()):
        message = "outside the loop's folder"
        raise ValueError(message)
    return target.read_text(encoding="utf-8")
