"""The steps of one demo: measured, named when they fail, and not done again when the demo is continued."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.markup import escape

from tidemill_client.cli.output import first_error, stderr, stdout
from tidemill_client.demo.report import Report
from tidemill_kit.core.errors import Internal, NotFound, TidemillError

CONTINUE = "make demo ARGS=--continue"
T = TypeVar("T")


class StepFailed(Internal):
    """One step of the demo did not come to its end."""

    reason = "STEP_FAILED"


@dataclass(slots=True, kw_only=True)
class Steps:
    """A demo as far as it is: saved after every step, so that another process can continue it."""

    file: Path
    project: str
    answers_only: bool = False
    poisoned: bool = False
    is_continued: bool = False
    done: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What steps found out and later ones need."""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        """Let the report fill this demo's figures."""
        self.report = Report(self.project, self.figures, self.seconds)

    @classmethod
    def unfinished(cls, file: Path) -> "Steps":
        """Return the demo that did not come to its end.

        Raises:
            NotFound: there is none.

        """
        try:
            saved = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            message = "there is no unfinished demo to continue: start one with `make demo`"
            raise NotFound(message) from None
        return cls(file=file, **saved | {"is_continued": True})

    async def run(
        self, name: str, work: Callable[[], Awaitable[T]], *, title: str = "", again: bool = False
    ) -> T | None:
        """Do one step unless it is done; `again` repeats one that only reads when it is done.

        Raises:
            StepFailed: it failed; the message says why, and how to go on.

        """
        if name in self.done and not again:
            return None
        if title:
            stdout.print(title)
        try:
            with self.report.step(name):
                result = await work()
        except BaseException as error:
            cause = first_error(error)
            if isinstance(cause, TidemillError):
                message = f"the step {name} failed: {cause.message}\nTo go on from there: {CONTINUE}"
                raise StepFailed(message) from error
            stderr.print(
                f"Stopped in the step {name}. To go on from there: {CONTINUE}", highlight=False, soft_wrap=True
            )
            raise
        finally:
            self.save()
        if name not in self.done:
            self.done.append(name)
        self.save()
        return result

    def save(self) -> None:
        """Write everything to the file, whole or not at all."""
        kept = {key: value for key, value in asdict(self).items() if key not in ("file", "report")}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        draft.replace(self.file)

    def finish(self) -> None:
        """Forget the demo: there is nothing to continue."""
        with suppress(FileNotFoundError):
            self.file.unlink()

    def announce(self, trusted: int) -> None:
        """Say which project it is, and what is done already."""
        stdout.print(
            f"[bold]Project {escape(self.project)}[/]: examples/helpdesk/loop.yaml is applied, twice "
            f"({trusted} trusted cases)"
        )
        if self.done:
            stdout.print(f"   done before: {', '.join(self.done)}", highlight=False)
