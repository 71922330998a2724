"""Which identifiers are replaced before a text is stored anywhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tidemill_core.errors import InvalidInput

_VERSION = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}/)?[a-z0-9][a-z0-9_-]{0,62}@[1-9]\d{0,8}")
_MODEL_RULE, _REJECT_RULE, _PSEUDONYMS_RULE = "model=", "reject", "pseudonyms"
DEFAULT_PHONE_REGIONS = ("US", "GB", "DE", "FR")


class MaskKind(Enum):
    """A kind of identifier; the placeholder is its name in brackets, as in [EMAIL]."""

    CREDENTIAL = "credential"
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    NATIONAL_ID = "national_id"
    IP = "ip"
    PHONE = "phone"
    PERSON = "person"
    PLACE = "place"
    ORGANISATION = "organisation"

    @property
    def placeholder(self) -> str:
        """What stands where an identifier of this kind stood."""
        return f"[{self.name}]"


NAMES = frozenset({MaskKind.PERSON, MaskKind.PLACE, MaskKind.ORGANISATION})
"""Kinds without a structure of their own: a model finds them."""
STRUCTURED = frozenset(MaskKind) - NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """What a source masks: everything that has a structure, and names where it names a model that finds them."""

    kinds: frozenset[MaskKind] = STRUCTURED
    model: str = ""
    """The registered model version that finds names."""
    reject: bool = False
    """Whether a document in which any of it is found is refused."""
    pseudonyms: bool = False
    """Whether a pseudonym takes the place of what is found, credentials excepted: the same for the same value."""

    @classmethod
    def of(
        cls, kinds: Iterable[str], *, none: bool, model: str = "", reject: bool = False, pseudonyms: bool = False
    ) -> "Masking":
        """Return the masking that a source's owner wrote; no kinds means all of them, `none` must be written out.

        Raises:
            InvalidInput: a kind that does not exist, both kinds and `none`, names without a model that finds them, or
                pseudonyms of what is refused, or of nothing.

        """
        names = list(kinds)
        known = {kind.value: kind for kind in MaskKind}
        if unknown := [name for name in names if name not in known]:
            text = f"{unknown[0]!r} is not a kind; use some of {', '.join(sorted(known))}"
            raise InvalidInput.at(field="masking.kinds", text=text)
        if none and (names or model or reject or pseudonyms):
            text = "masks nothing, so name neither kinds nor a model, refuse nothing, and ask for no pseudonyms"
            raise InvalidInput.at(field="masking.none", text=text)
        if none:
            return cls(kinds=frozenset())
        if model and not _VERSION.fullmatch(model):
            text = f"is {model!r}; name a version of a registered model, such as names@1"
            raise InvalidInput.at(field="masking.model", text=text)
        chosen = frozenset(known[name] for name in names) or (frozenset(MaskKind) if model else STRUCTURED)
        if (chosen & NAMES) and not model:
            text = f"{min(kind.value for kind in chosen & NAMES)} is found by a model: register one, and name it here"
            raise InvalidInput.at(field="masking.model", text=text)
        if model and not chosen & NAMES:
            text = "finds person, place and organisation: name one of them in kinds, or no kinds for all"
            raise InvalidInput.at(field="masking.model", text=text)
        if pseudonyms and (reject or chosen == {MaskKind.CREDENTIAL}):
            text = "stand for what is refused: choose one of both" if reject else "are for other kinds than credential"
            raise InvalidInput.at(field="masking.pseudonyms", text=text)
        return cls(kinds=chosen, model=model, reject=reject, pseudonyms=pseudonyms)

    @classmethod
    def strictest(cls, rules: Iterable[str]) -> "Masking":
        """Return the masking of everything, with the model and what else an earlier one's rules say."""
        rules = tuple(rules)
        models = [rule.removeprefix(_MODEL_RULE) for rule in rules if rule.startswith(_MODEL_RULE)]
        return cls.of(
            [],
            none=False,
            model=models[0] if models else "",
            reject=_REJECT_RULE in rules,
            pseudonyms=_PSEUDONYMS_RULE in rules,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds' names, sorted."""
        return tuple(sorted(kind.value for kind in self.kinds))

    @property
    def rules(self) -> tuple[str, ...]:
        """What decides how a text is masked: the kinds, the model where there is one, and what becomes of it."""
        model, reject = [_MODEL_RULE + self.model] * bool(self.model), [_REJECT_RULE] * self.reject
        return (*self.names, *model, *reject, *[_PSEUDONYMS_RULE] * self.pseudonyms)
