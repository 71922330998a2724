"""What a project lets another one read."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_core.errors import Violation
from tidemill_core.grpc.context import PROJECT_FORM, PROJECT_SLUG
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_monitor.access.domain.names import Limits, text_violations

_QUOTED = 80


class ResourceKind(StrEnum):
    """What can be shared."""

    MODEL = "model"
    PROMPT = "prompt"
    DATASET = "dataset"
    COLLECTION = "collection"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantChanged(Event):
    """Another project may read a resource, or no longer."""

    id: str
    project: str
    resource_kind: ResourceKind
    resource: str
    grantee: str
    revoked: bool

    @property
    def record_key(self) -> str:
        """The latest record of a key says all about its grant, so that the topic can be compacted."""
        return f"grant/{self.project}/{self.id}"


@dataclass(slots=True, kw_only=True)
class ResourceGrant(Aggregate):
    """One project may read one resource of another, with all its versions. A revoked one is deleted."""

    kind: ResourceKind
    resource: str
    grantee: str
    description: str = ""

    @property
    def credential(self) -> str:
        """What names its uses among those of API keys."""
        return f"grant:{self.id}"

    def check(self, limits: Limits) -> None:
        """Validate all fields.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits))

    def _violations(self, limits: Limits) -> Iterator[Violation]:
        yield from slug_violations("grant.resource", self.resource)
        if not PROJECT_SLUG.fullmatch(self.grantee):
            yield Violation(field="grant.grantee", description=f"is {self.grantee[:_QUOTED]!r}; use {PROJECT_FORM}")
        elif self.grantee == self.project:
            yield Violation(field="grant.grantee", description="is the project that owns the resource")
        yield from label_violations("grant.labels", self.labels)
        yield from text_violations("grant.description", self.description, limit=limits.text_length)

    def record(self, *, revoked: bool, now: datetime) -> None:
        """Have the services know."""
        self.pending.append(
            GrantChanged(
                occurred_at=now,
                id=self.id,
                project=self.project,
                resource_kind=self.kind,
                resource=self.resource,
                grantee=self.grantee,
                revoked=revoked,
            )
        )


def grant_id_of(project: str, kind: ResourceKind, resource: str, grantee: str) -> str:
    """Return the id of the grant that these name."""
    return derived_id(project, "grant", f"{kind}/{resource}/{grantee}")
