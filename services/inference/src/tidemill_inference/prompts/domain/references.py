"""Names, and names with a pin: `answer`, `answer@2`, `answer@production`."""

from dataclasses import dataclass

from tidemill_core.resources import check_slug


@dataclass(frozen=True, slots=True)
class Reference:
    """A name, and the version or label that it is pinned to; "" follows the newest."""

    name: str
    pin: str = ""

    @classmethod
    def parse(cls, field: str, text: str) -> "Reference":
        """Read `name` or `name@pin`.

        Raises:
            InvalidInput: either is not a slug.

        """
        name, at, pin = text.partition("@")
        check_slug(field, name)
        if at:
            check_slug(field, pin)
        return cls(name, pin)
