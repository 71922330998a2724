"""What pseudonyms need from outside, and what other features need of them."""

from collections.abc import Mapping
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_core.envelope import Envelope
from tidemill_ingest.pseudonyms.domain import ProjectKey

ProjectKeys = Aggregates[ProjectKey]


class ProjectSecret(Protocol):
    """What is derived from a project's key."""

    @property
    def tokens_key(self) -> bytes:
        """The key of tokens, which processes of documents get; values are not encrypted by it."""

    async def seal(self, values: Mapping[str, str], *belongs: str) -> Envelope:
        """Return what pseudonyms stand for, encrypted for the version that they belong to."""

    async def open(self, envelope: Envelope, *belongs: str) -> Mapping[str, str]:
        """Return what pseudonyms stand for.

        Raises:
            PseudonymsUnreadable: they were encrypted by another key, or for another version.

        """


class ProjectSecrets(Protocol):
    """The secrets of projects, opened where they are needed and nowhere stored."""

    async def get(self, caller: Caller, *, create: bool) -> ProjectSecret:
        """Return that of the caller's project. Without one: `create` makes it, else it is one for this call only.

        Raises:
            PseudonymsNotKept: the operator has configured no key.
            PreconditionFailed: the operator's key that it is under is missing.
            ProjectDeleted: nothing is made for a deleted project.

        """
        ...
