"""Commands, the options that all of them take (the project, and whether to print JSON), and labels of several."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command that runs was given."""

    project: str = ""
    as_json: bool = False


_PROJECT = Annotated[
    str, typer.Option("--project", "-p", envvar="TIDEMILL_PROJECT", help="The project; default: that of the last demo.")
]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_OF_ALL: Mapping[str, tuple[Any, object]] = {"project": (_PROJECT, ""), "as_json": (_JSON, False)}
_NO_PROJECT: set[Callable[..., Any]] = set()
_given = ContextVar("options", default=Options())  # noqa: B039 - it is frozen


def options() -> Options:
    """Return the options of the command that runs; `output` obeys them."""
    return _given.get()


def labels_of(given: list[str]) -> dict[str, str]:
    """Return the labels of pairs `name=value`."""
    pairs = [each.partition("=") for each in given]
    if wrong := next((name for name, sign, _ in pairs if not name or not sign), None):
        message = f"{wrong!r} must be name=value"
        raise typer.BadParameter(message, param_hint="--label")
    return {name: value for name, _, value in pairs}


def without_project(command: F) -> F:
    """Say that a command is about this machine, and takes no --project."""
    _NO_PROJECT.add(command)
    return command


class Commands(typer.Typer):
    """A group of commands; each takes the options of all beside its own."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(no_args_is_help=True, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:  # noqa: ANN401 - typer's own
        """Register a command."""
        register = super().command(name, **settings)

        def add(command: F) -> F:
            register(_with_options(command))
            return command

        return add


def _with_options(command: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - as the command declares them
        _given.set(Options(**{name: given.pop(name) for name in added}))
        command(**given)

    added = {name: each for name, each in _OF_ALL.items() if name != "project" or command not in _NO_PROJECT}
    return declared(run, like=command, options=added)


def declared(command: F, *, like: Callable[..., Any], options: Mapping[str, tuple[Any, object]]) -> F:
    """Return the command with the parameters of another function, and options with their default, as typer reads it."""
    given, place = inspect.signature(like), inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, place, annotation=kind, default=value) for name, (kind, value) in options.items()]
    command.__signature__ = given.replace(parameters=[*given.parameters.values(), *added])  # type: ignore[attr-defined] # as inspect reads it
    command.__annotations__ = {**like.__annotations__, **{name: kind for name, (kind, _) in options.items()}}
    return command
