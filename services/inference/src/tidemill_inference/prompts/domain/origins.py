"""Where content comes from: versions of other prompts that were forked or merged into one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOrigin:
    """A version of a prompt, by the name that a project has for it: an id of its own, or `project/id`.

    The digest differs from that of a version with this number of a prompt that was deleted and made anew.
    """

    prompt: str
    version: int
    digest: str

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.prompt}@{self.version}"

    def named_in_full(self, project: str) -> "VersionOrigin":
        """Return it with a name that means the same in every project; now it is one that `project` has for it."""
        return self if "/" in self.prompt else replace(self, prompt=f"{project}/{self.prompt}")

    def named_in(self, project: str) -> "VersionOrigin":
        """Return it by the name that a project has for it; now it is named in full."""
        return replace(self, prompt=self.prompt.removeprefix(f"{project}/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a version has of another prompt."""

    origin: VersionOrigin
    contains: tuple[VersionOrigin, ...]
    """The origin, and the last versions of further prompts that it goes on from."""
    contributors: tuple[str, ...] = ()
    """The subjects that made what came in, as far as they are of the same project."""


def with_origins(known: Sequence[VersionOrigin], *further: VersionOrigin) -> tuple[VersionOrigin, ...]:
    """Return the versions with further ones, of each prompt the last."""
    return tuple({each.prompt: each for each in (*known, *further)}.values())
