"""The key of a project that its pseudonyms are made with, and that what they stand for is encrypted by."""

from dataclasses import dataclass

from tidemill_core.envelope import Encrypted, Envelope

KEY_ID = "pseudonyms"
KEY_BYTES = 32
_PURPOSE = "ingest.pseudonyms"


@dataclass(slots=True, kw_only=True)
class ProjectKey(Encrypted):
    """Made at random with the project's first pseudonym, and the same from then on. It publishes no events."""

    @property
    def belongs(self) -> tuple[str, ...]:
        """What it is bound to: put into another project, it does not open."""
        return (_PURPOSE, self.project, self.id)

    def set(self, envelope: Envelope) -> None:
        """Take a key, unless there is one: of two processes that make one at the same moment, one is the first."""
        self.envelope = self.envelope or envelope
