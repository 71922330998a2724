"""Names, and names with a pin: `answer`, `answer@2`, `answer@production`; of another project `acme/answer@2`."""

from dataclasses import dataclass

from tidemill_core.resources import check_slug

UNSAVED = "unsaved:"
"""Before the digest of a prompt that is saved nowhere; no name of a prompt has a colon."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name, and the version or label that it is pinned to; "" follows the newest."""

    name: str
    pin: str = ""

    @classmethod
    def parse(cls, field: str, text: str, *, shared: bool = False) -> "Reference":
        """Read `name` or `name@pin`; where others may share it, the name may be `project/name`.

        Raises:
            InvalidInput: either is not a slug.

        """
        name, at, pin = text.partition("@")
        for part in name.split("/", 1) if shared else [name]:
            check_slug(field, part)
        if at:
            check_slug(field, pin)
        return cls(name, pin)

    @classmethod
    def of_prompt(cls, text: str) -> "Reference":
        """Read the name of a prompt, which another project may share.

        Raises:
            InvalidInput: as `parse` does.

        """
        return cls.parse("prompt", text, shared=True)
