"""What projects let one another read: grants, read with the revocations from the same compacted topic."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ValidationError

from tidemill_kit.access.revocations import Revocations
from tidemill_kit.events.bodies import without_prefix


class Shared(StrEnum):
    """What can be shared."""

    MODEL = "MODEL"
    PROMPT = "PROMPT"
    DATASET = "DATASET"
    COLLECTION = "COLLECTION"


class _Grant(BaseModel, frozen=True):
    """One record's value."""

    id: str
    project: str
    resource_kind: Annotated[Shared, without_prefix("RESOURCE_KIND_")]
    resource: str
    grantee: str
    revoked: bool = False
    seq: int


class Grants:
    """The grants that are known; of a deleted project none counts. `used` is called with owner and id of each use."""

    def __init__(
        self, revocations: Revocations, *, used: Callable[[str, str], None] = lambda _owner, _id: None
    ) -> None:
        self._revocations = revocations
        self._used = used
        self._known: dict[tuple[str, str], _Grant] = {}
        self._given: dict[tuple[str, Shared, str, str], str] = {}

    def apply(self, value: bytes) -> bool:
        """Remember a record; return whether it could be read. One that is older than what is known changes nothing."""
        try:
            grant = _Grant.model_validate_json(value)
        except ValidationError:
            return False
        key = (grant.project, grant.id)
        known = self._known.get(key)
        if known is None or grant.seq > known.seq:
            self._known[key] = grant
            given = (grant.grantee, grant.resource_kind, grant.project, grant.resource)
            if grant.revoked:
                self._given.pop(given, None)
            else:
                self._given[given] = grant.id
        return True

    def resolve(self, project: str, kind: Shared, name: str) -> tuple[str, str] | None:
        """Return project and id of the resource that a caller of `project` names; None of one that it may not read.

        `<project>/<id>` is one of another project, a name without a slash one of its own.
        """
        owner, slash, resource = name.partition("/")
        if not slash:
            return project, name
        if owner == project:
            return project, resource
        grant = self._given.get((project, kind, owner, resource))
        if grant is None or self._revocations.deleted(owner):
            return None
        self._used(owner, grant)
        return owner, resource

    def readers(self, owner: str, kind: Shared, resource: str) -> list[str]:
        """Return the projects that a resource is shared with."""
        if self._revocations.deleted(owner):
            return []
        return sorted(each[0] for each in self._given if each[1:] == (kind, owner, resource))


@dataclass(frozen=True, slots=True)
class SharedNames:
    """The names that a project has for things of one kind."""

    grants: Grants
    kind: Shared

    def __call__(self, project: str, name: str) -> tuple[str, str] | None:
        """See `Grants.resolve`."""
        return self.grants.resolve(project, self.kind, name)

    def readers(self, owner: str, resource: str) -> list[str]:
        """See `Grants.readers`."""
        return self.grants.readers(owner, self.kind, resource)
