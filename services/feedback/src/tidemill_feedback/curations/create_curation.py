"""Create a curation: from then on corrections are counted, and those that are there already too."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_feedback.curations.check_rule import check_rule
from tidemill_feedback.curations.domain.curation import Curation, Rule
from tidemill_feedback.errors import CurationExists
from tidemill_feedback.reactions.ports import CurationStore, Enqueue


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCuration:
    """Emits nothing. A deleted curation's id may be taken again; its completions go on counting."""

    curations: CurationStore
    clock: Clock
    enqueue: Enqueue
    at_most: int
    """How many examples a batch may have."""

    async def __call__(
        self, caller: Caller, curation_id: str, rule: Rule, *, request: Request, validate_only: bool = False
    ) -> Curation:
        """Return the curation as created, or as it would be.

        Raises:
            CurationExists: the id is taken.
            InvalidInput: something in the rule is wrong.

        """
        check_rule(curation_id, rule, at_most=self.at_most)
        now = self.clock.now()
        fresh = Curation(id=curation_id, project=caller.project, rule=rule, since=now)
        if validate_only:
            if await self.curations.get_many(caller.project, [curation_id]):
                raise CurationExists(curation_id)
            fresh.begin(rule, now=now)
            return fresh
        created = await self.curations.upsert(fresh, lambda curation: curation.begin(rule, now=now), request=request)
        self.enqueue(created.ref)
        return created
