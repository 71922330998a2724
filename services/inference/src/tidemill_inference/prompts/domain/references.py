"""Names, and names with a pin: `answer`, `answer@2`, `answer@production`."""

import re
from dataclasses import dataclass

from tidemill_core.errors import InvalidInput, Violation

_SLUG = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


def check_slug(field: str, value: str) -> None:
    """Refuse a name that is not a slug.

    Raises:
        InvalidInput: names field and value.

    """
    if not _SLUG.fullmatch(value):
        text = f"is {value!r}; take 1 to 63 of a-z, 0-9, _ and -, starting and ending with a letter or digit"
        raise InvalidInput.of(Violation(field=field, description=text))


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
