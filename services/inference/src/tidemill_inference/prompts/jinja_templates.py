"""Prompts as Jinja templates in a sandbox, and their variables as JSON Schema.

A sandbox bounds what a template reaches, not what it takes: `BoundedTemplates` runs this in processes with limits. What
is counted here beside makes the usual mistakes cheap.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_eval_context
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.prompts.domain.errors import PromptRefused
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import MAX_RENDERED_CHARACTERS, CheckedPrompt, PromptInput

MAX_SOURCE_CHARACTERS = 64 * 1024
MAX_RANGE = 100
MAX_NESTED_LOOPS = 2
GIVEN = frozenset({"question", "passages", "messages"})
"""What every template sees beside its own variables."""
OFFERED = frozenset({"summary", "memory"})
"""What it sees as well, unless it has variables of its own of these names."""

_FILTERS = frozenset(
    {
        *("capitalize", "default", "e", "escape", "first", "float", "int", "items", "join", "last", "length", "list"),
        *("lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select"),
        *("selectattr", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "wordcount"),
    }
)
"""Filters that make little of little: no padding to a width, nothing that builds large texts."""


_PADDING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})
"""Methods of texts that make much of little."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Refuses the operators and methods that make much of little."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Refuse padding beside what the sandbox refuses anyway."""
        return attr not in _PADDING and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, _context: object, operator: str, left: object, right: object) -> object:
        """Let numbers be calculated with, and short things be put together, but no powers be taken."""
        if operator == "+":
            if isinstance(left, _SIZED) and isinstance(right, _SIZED):
                _refuse_beyond(len(left) + len(right), what="a sum")
            return left + right  # type: ignore[operator] # as Python decides
        numbers = all(isinstance(each, int | float) and abs(each) < MAX_RENDERED_CHARACTERS for each in (left, right))
        if operator == "**" or not numbers:
            message = f"the operator {operator} is limited to small numbers"
            raise SecurityError(message)
        return left * right if operator == "*" else left % right  # type: ignore[operator] # both are numbers

    def call(self, context: object, called: object, *args: object, **named: object) -> object:
        """Bound the methods of texts that make much of little, and call the others."""
        owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        if isinstance(owner, str) and name == "join" and args:
            return _joined(args[0], owner)
        if isinstance(owner, str) and name == "replace" and len(args) > 1:
            return _replaced(owner, str(args[0]), str(args[1]))
        return super().call(context, called, *args, **named)  # type: ignore[arg-type] # a context of Jinja's


_SIZED = (str, list, tuple)


def _refuse_beyond(size: int, *, what: str) -> None:
    if size > MAX_RENDERED_CHARACTERS:
        message = f"{what} would have {size} characters or items; the limit is {MAX_RENDERED_CHARACTERS}"
        raise SecurityError(message)


def _joined(values: object, between: str) -> str:
    texts: list[str] = []
    size = 0
    for value in values if isinstance(values, Iterable) else ():
        texts.append(str(value))
        size += len(texts[-1]) + len(between)
        _refuse_beyond(size, what="a joined text")
    return between.join(texts)


def _replaced(text: str, old: str, new: str) -> str:
    _refuse_beyond(len(text) + text.count(old) * max(len(new) - len(old), 0), what="a replaced text")
    return text.replace(old, new)


@pass_eval_context
def _join(_context: object, value: object, d: str = "", attribute: str | int | None = None) -> str:
    """Do what Jinja's `join` does, within bounds."""
    if attribute is not None and isinstance(value, Iterable):
        attribute_of = make_attrgetter(_ENVIRONMENT, attribute)
        value = [attribute_of(each) for each in value]
    return _joined(value, str(d))


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    """Do what Jinja's `replace` does, within bounds."""
    if count is None:
        return _replaced(str(text), str(old), str(new))
    _refuse_beyond(len(str(text)) + count * len(str(new)), what="a replaced text")
    return str(text).replace(str(old), str(new), count)


def _environment() -> _Sandbox:
    made = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False)
    made.filters = {name: made.filters[name] for name in _FILTERS} | {"join": _join, "replace": _replace}
    made.globals = {"range": _short_range}
    return made


def _short_range(*bounds: int) -> range:
    requested = range(*bounds)
    if len(requested) > MAX_RANGE:
        message = f"range has {len(requested)} steps; the limit is {MAX_RANGE}"
        raise SecurityError(message)
    return requested


_ENVIRONMENT = _environment()


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    """Check `pattern` in a time that grows with the text alone (RE2)."""
    if isinstance(instance, str) and _linear(pattern).search(instance) is None:
        yield ValidationError("does not match")


@lru_cache(maxsize=256)
def _linear(pattern: str) -> Any:  # noqa: ANN401 - the library has no types
    options = re2.Options()
    options.log_errors = False  # they quote the pattern
    return re2.compile(pattern, options=options)


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


class JinjaTemplates:
    """Checks and renders prompts in this process."""

    def check(self, content: PromptContent) -> CheckedPrompt:
        """See `Templates.check`."""
        violations: list[Violation] = []
        schema: Mapping[str, object] = {}
        try:
            schema = _schema_of(content.variables_schema)
            _check_keywords(schema)
            _unfitting(schema, {})  # one that leads nowhere, or into itself, does so with anything
        except InvalidInput as error:
            violations += error.violations
        known = GIVEN | OFFERED | _properties(schema)
        if not content.user.strip():
            violations.append(Violation("content.user", "is required"))
        violations += _problems("content.system", content.system, known)
        violations += _problems("content.user", content.user, known)
        if taken := sorted(GIVEN & _properties(schema)):
            text = f"declares {', '.join(taken)}, which every template has already: choose other names"
            violations.append(Violation("content.variables_schema", text))
        if violations:
            raise PromptRefused(*violations)
        normal = [
            _without_comments(content.system),
            _without_comments(content.user),
            json.dumps(schema, sort_keys=True),
        ]
        return CheckedPrompt(content=content, digest=hashlib.sha256(json.dumps(normal).encode()).hexdigest())

    def check_variables(self, content: PromptContent, variables: Mapping[str, object]) -> None:
        """See `Templates.check_variables`."""
        schema = _schema_of(content.variables_schema) or {"type": "object"}
        found = [
            Violation("variables", f"{name} is not declared by the prompt; {_declared(schema)}")
            for name in sorted(set(variables) - _properties(schema))
        ]
        found += _unfitting(schema, variables)
        if found:
            raise InvalidInput.of(*found)

    def render(self, content: PromptContent, given: PromptInput) -> tuple[Message, ...]:
        """See `Templates.render`. Space at the end of a rendered template is cut, as a version's digest ignores it."""
        seen = {
            "summary": given.summary,
            "memory": list(given.memory),
            **given.variables,
            "question": given.question,
            "passages": [
                {
                    "id": passage.id,
                    "title": passage.title,
                    "text": passage.text,
                    "uri": passage.uri,
                    "source": passage.source,
                    "key": passage.key,
                    "document": passage.document,
                    "version": passage.version,
                    "score": passage.score,
                }
                for passage in given.passages
            ],
            "messages": [{"role": message.role.value, "text": message.text} for message in given.messages],
        }
        system = _rendered("content.system", content.system, seen) if content.system.strip() else ""
        user = _rendered("content.user", content.user, seen)
        return (*([Message.of(Role.SYSTEM, system)] if system else []), Message.of(Role.USER, user))


def _schema_of(text: str) -> Mapping[str, object]:
    """Return the schema, {} where there is none."""
    if not text.strip():
        return {}
    if len(text) > MAX_SOURCE_CHARACTERS:
        raise _refused(why=f"has {len(text)} characters; the limit is {MAX_SOURCE_CHARACTERS}")
    try:
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
    except json.JSONDecodeError as error:
        raise _refused(why=f"line {error.lineno}: is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise _refused(why="is nested too deep") from error
    except SchemaError as error:
        raise _refused(
            why=f"is not a JSON Schema (draft 2020-12): {_path_of(error, root='schema')}: {error.message}"
        ) from error
    if not isinstance(schema, dict) or not isinstance(schema.get("properties", {}), dict):
        raise _refused(why="has to describe an object: a JSON object with `properties`")
    return {"type": "object", **schema}


def _unfitting(schema: Mapping[str, object], variables: Mapping[str, object]) -> list[Violation]:
    try:
        errors = _Validator(schema, registry=Registry()).iter_errors(dict(variables))
        return [Violation(_path_of(error), _description(error)) for error in errors]
    except Unresolvable as error:
        raise _refused(why=f"{error.ref} cannot be resolved") from error
    except RecursionError as error:
        raise _refused(why="refers to itself, or is nested too deep") from error
    except re2.error as error:
        raise _refused(why=_UNKNOWN_PATTERN) from error


_UNKNOWN_PATTERN = "has a pattern that RE2 cannot read: write it without look-around and back-references"


def _check_keywords(part: object) -> None:
    """Refuse patterns that may take for ever, wherever in the schema they stand."""
    if isinstance(part, list):
        for each in part:
            _check_keywords(each)
    if not isinstance(part, dict):
        return
    if "patternProperties" in part:
        raise _refused(why="has patternProperties, which are not supported: name the properties")
    pattern = part.get("pattern")
    if isinstance(pattern, str):
        try:
            _linear(pattern)
        except re2.error as error:
            raise _refused(why=_UNKNOWN_PATTERN) from error
    for name, each in part.items():
        if name not in {"const", "default", "enum", "examples"}:
            _check_keywords(each)


def _refused(*, why: str) -> InvalidInput:
    return InvalidInput.at(field="content.variables_schema", text=why)


def _properties(schema: Mapping[str, object]) -> frozenset[str]:
    properties = schema.get("properties", {})
    return frozenset(properties) if isinstance(properties, dict) else frozenset()


def _declared(schema: Mapping[str, object]) -> str:
    names = sorted(_properties(schema))
    return f"declared are {', '.join(names)}" if names else "it declares none"


def _problems(field: str, source: str, known: frozenset[str]) -> Iterator[Violation]:
    if len(source) > MAX_SOURCE_CHARACTERS:
        yield Violation(field, f"has {len(source)} characters; the limit is {MAX_SOURCE_CHARACTERS}")
        return
    try:
        tree = _ENVIRONMENT.parse(source)
        _ENVIRONMENT.from_string(source)  # filters and tests are looked up by compiling
    except TemplateSyntaxError as error:
        yield Violation(field, f"line {error.lineno}: {error.message}")
        return
    except (RecursionError, SyntaxError, MemoryError, OverflowError):
        yield Violation(field, "is nested too deep: write it flatter")
        return
    for name in sorted(find_undeclared_variables(tree) - known - {"range"}):
        line = next((node.lineno for node in tree.find_all(nodes.Name) if node.name == name), 1)
        yield Violation(field, f"line {line}: {name!r} is not known; there are {', '.join(sorted(known))}")
    for loop in tree.find_all(nodes.For):
        if _depth(loop) > MAX_NESTED_LOOPS:
            yield Violation(field, f"line {loop.lineno}: loops are nested more than {MAX_NESTED_LOOPS} deep")
            return
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            yield Violation(field, f"line {loop.lineno}: recursive loops are not supported in prompts")
            return
    for node in tree.find_all(
        (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Macro, nodes.CallBlock)
    ):
        yield Violation(field, f"line {node.lineno}: {type(node).__name__.lower()} is not supported in prompts")


def _depth(loop: nodes.For) -> int:
    return 1 + max((_depth(inner) for child in loop.body for inner in _loops(child)), default=0)


def _loops(node: nodes.Node) -> Iterator[nodes.For]:
    """Yield the outermost loops at or below a node."""
    if isinstance(node, nodes.For):
        yield node
        return
    for child in node.iter_child_nodes():
        yield from _loops(child)


def _without_comments(source: str) -> str:
    """Return the source without Jinja's comments and without space at the end."""
    kept, inside = [], False
    for _line, kind, value in _ENVIRONMENT.lex(source):
        inside = inside or kind == "comment_begin"
        if not inside:
            kept.append(value)
        inside = inside and kind != "comment_end"
    return "".join(kept).rstrip()


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


def _rendered(field: str, source: str, seen: Mapping[str, object]) -> str:
    """Render with a limit on what comes out."""
    pieces, length = [], 0
    try:
        for piece in _compiled(source).generate(seen):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_RENDERED_CHARACTERS:
                text = f"makes more than {MAX_RENDERED_CHARACTERS} characters of this question"
                raise PromptRefused(Violation(field, text))
    except (RecursionError, SyntaxError) as error:
        raise PromptRefused(Violation(field, "cannot be rendered: it is nested too deep, or calls itself")) from error
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        # A template may fail in any way on a value that it did not expect. Only Jinja's words are free of users' text.
        why = error.message if isinstance(error, UndefinedError | SecurityError) else type(error).__name__
        raise PromptRefused(Violation(field, f"cannot be rendered: {why}")) from error
    return "".join(pieces).rstrip()


def _path_of(error: ValidationError | SchemaError, *, root: str = "variables") -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)


def _description(error: ValidationError) -> str:
    """Return what is wrong without the value, which may be a user's."""
    if error.validator == "required":
        # Its message names the property, which the schema declares, and no value.
        return error.message
    return f"does not fit {error.validator}: {json.dumps(error.validator_value, default=str)[:200]}"
