"""What a service erases: steps, declared once where its parts are put together."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.errors import Conflict
from tidemill_kit.access.holds import Scope

__all__ = ["NotYet", "Scope", "Step", "Steps", "Target"]


class NotYet(Conflict):
    """A step raises it while something that runs has to end first: the step is tried again, a moment later."""

    reason = "ERASURE_WAITS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whose data is erased. `subject` is the id of the end user or document; empty for a project."""

    project: str
    scope: Scope
    subject: str = ""

    def __post_init__(self) -> None:
        """Refuse what would erase the data of others: a name that begins theirs, or no name."""
        if not self.project or "/" in self.project:
            message = f"no project is named {self.project!r}"
            raise ValueError(message)
        if (self.scope is Scope.PROJECT) == bool(self.subject):
            message = "an erasure of a project names no subject, and any other one does"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Erases one kind of data. Idempotent; several processes may do it at once, and one may be killed in it."""

    kind: str
    """What it erases, in the plural, as the certificate says it: "documents"."""
    erase: Callable[[Target], Awaitable[int]]
    """Erases one bounded batch, and returns how much that was; 0 says that nothing is left."""
    covers: tuple[str, ...] = ()
    """Names of the collections, and `bucket:<name>` or `folder:<name>` of the others, that it leaves nothing in."""


Steps = Mapping[Scope, Sequence[Step]]
