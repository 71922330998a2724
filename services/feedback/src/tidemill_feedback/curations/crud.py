"""Change the rule of a curation, pause or resume it."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Request
from tidemill_core.errors import Conflict
from tidemill_feedback.curations.check_rule import check_rule
from tidemill_feedback.curations.domain.curation import Curation, Rule
from tidemill_feedback.reactions.ports import CurationStore, Enqueue

CHANGEABLE = frozenset(
    {
        "dataset",
        "deployment",
        "feedback",
        "per_user_at_most",
        "min_output_chars",
        "max_output_chars",
        "new_examples",
        "at_latest_every",
        "at_least",
        "paused",
        "labels",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommand:
    """`rule` counts where `fields` names it; `version` 0 takes any."""

    curation: str
    rule: Rule
    fields: AbstractSet[str]
    version: int
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCuration:
    """Emits nothing; enqueues the curation to check the new rule."""

    curations: CurationStore
    enqueue: Enqueue
    at_most: int
    """How many examples a batch may have."""

    async def __call__(self, caller: Caller, command: UpdateCommand) -> Curation:
        """Return the curation as changed, or as it would be.

        Raises:
            CurationNotFound: the caller's project has none with this id.
            Conflict: it changed since the version that the caller has seen.
            InvalidInput: something in the rule is wrong.

        """

        def change(curation: Curation) -> None:
            check_version(curation, command.version)
            named = {name: getattr(command.rule, name) for name in command.fields}
            rule = replace(curation.rule, **named)
            check_rule(curation.id, rule, at_most=self.at_most)
            curation.configure(rule)

        if command.validate_only:
            current = await self.curations.get(caller.project, command.curation)
            change(current)
            return current
        changed = await self.curations.update(caller.project, command.curation, change, request=command.request)
        self.enqueue(changed.ref)
        return changed


def check_version(curation: Curation, version: int) -> None:
    """Refuse a change that was decided on another version; 0 was decided on none.

    Raises:
        Conflict: the curation has changed since.

    """
    if version and version != curation.version:
        message = f"curation {curation.id} changed since: read it again and decide again"
        raise Conflict(message, curation=curation.id)
