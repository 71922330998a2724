"""The steps of a demo run: measured, and skipped when a continued demo has completed them."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.markup import escape

from tidemill_cli.output import first_error, stderr, stdout
from tidemill_core.errors import Internal, NotFound, TidemillError
from tidemill_helpdesk.example import DEEP, LOOP
from tidemill_helpdesk.report import Report

DEEP_MINUTES = 30
"""What learning in depth takes beside the usual turn."""
CONTINUE = "make demo ARGS=--continue"
T = TypeVar("T")


class StepFailed(Internal):
    """A step of the demo failed."""

    reason = "STEP_FAILED"


@dataclass(slots=True, kw_only=True)
class Steps:
    """The state of a demo run, saved after every step so that it can be continued."""

    file: Path
    project: str
    answers_only: bool = False
    poisoned: bool = False
    deep: bool = False
    is_continued: bool = False
    done: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """State that steps pass to later ones."""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        """Create the report on this run's figures."""
        self.report = Report(self.project, self.figures, self.seconds)

    @classmethod
    def unfinished(cls, file: Path) -> "Steps":
        """Return the unfinished demo.

        Raises:
            NotFound: there is none.

        """
        try:
            saved = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            message = "no unfinished demo to continue: start one with `make demo`"
            raise NotFound(message) from None
        return cls(file=file, **saved | {"is_continued": True})

    async def run(
        self, name: str, work: Callable[[], Awaitable[T]], *, title: str = "", again: bool = False
    ) -> T | None:
        """Run one step unless it is completed; `again` runs it anyway, for steps that only read.

        Raises:
            StepFailed: the step failed; the message says why, and how to continue.

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
                message = f"step {name} failed: {cause.message}\nTo continue: {CONTINUE}"
                raise StepFailed(message) from error
            stderr.print(f"Interrupted in step {name}. To continue: {CONTINUE}", highlight=False, soft_wrap=True)
            raise
        finally:
            self.save()
        if name not in self.done:
            self.done.append(name)
        self.save()
        return result

    def save(self) -> None:
        """Write the state to the file atomically."""
        kept = {key: value for key, value in asdict(self).items() if key not in ("file", "report")}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        draft.replace(self.file)

    def finish(self) -> None:
        """Delete the saved state."""
        with suppress(FileNotFoundError):
            self.file.unlink()

    @property
    def loop(self) -> str:
        """The file of the loop that is run."""
        return DEEP if self.deep else LOOP

    def announce(self, trusted: int) -> None:
        """Print the project, the completed steps, and what --deep takes."""
        stdout.print(
            f"[bold]Project {escape(self.project)}[/]: applying examples/helpdesk/{self.loop} twice "
            f"({trusted} trusted cases)"
        )
        if self.deep:
            stdout.print(
                f"   --deep: a sweep in place of one training, and DPO after the turn: about {DEEP_MINUTES} minutes "
                "more by an estimate, on 2 cores with bfloat16",
                highlight=False,
            )
        if self.done:
            stdout.print(f"   completed before: {', '.join(self.done)}", highlight=False)
