"""Which identifiers are replaced before a text is stored anywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tidemill_core.errors import InvalidInput

DEFAULT_PHONE_REGIONS = ("US", "GB", "DE", "FR")


class MaskKind(Enum):
    """A kind of structured identifier; the placeholder is its name in brackets, as in [EMAIL]."""

    CREDENTIAL = "credential"
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    NATIONAL_ID = "national_id"
    IP = "ip"
    PHONE = "phone"

    @property
    def placeholder(self) -> str:
        """What stands where an identifier of this kind stood."""
        return f"[{self.name}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """What a source masks: everything, unless its owner named less."""

    kinds: frozenset[MaskKind] = frozenset(MaskKind)

    @classmethod
    def of(cls, kinds: Iterable[str], *, none: bool) -> "Masking":
        """Return the masking that a source's owner wrote; no kinds means all of them, `none` must be written out.

        Raises:
            InvalidInput: a kind that does not exist, or both kinds and `none`.

        """
        names = list(kinds)
        known = {kind.value: kind for kind in MaskKind}
        if unknown := [name for name in names if name not in known]:
            text = f"{unknown[0]!r} is not a kind; use some of {', '.join(sorted(known))}"
            raise InvalidInput.at(field="masking.kinds", text=text)
        if none and names:
            raise InvalidInput.at(field="masking.none", text="masks nothing, so name no kinds")
        if none:
            return cls(kinds=frozenset())
        return cls(kinds=frozenset(known[name] for name in names)) if names else cls()

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds' names, sorted."""
        return tuple(sorted(kind.value for kind in self.kinds))
