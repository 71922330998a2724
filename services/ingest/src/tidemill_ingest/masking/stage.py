"""The masking stage: every text passes it before it is stored anywhere but in quarantine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from tidemill_ingest.masking import credentials
from tidemill_ingest.masking.contacts import find_emails, phone_finder
from tidemill_ingest.masking.kinds import DEFAULT_PHONE_REGIONS, STRUCTURED, Masking, MaskKind
from tidemill_ingest.masking.national_ids import find_national_ids
from tidemill_ingest.masking.numbers import find_addresses, find_cards, find_ibans
from tidemill_ingest.masking.pseudonyms import Pseudonyms
from tidemill_ingest.masking.shadow import Shadow
from tidemill_ingest.masking.spans import Finder, Span, apart, blanked, moved, replaced
from tidemill_ingest.masking.tokens import token_spans
from tidemill_ingest.masking.written_addresses import find_written_emails

STAGE_VERSION = 4
"""Counted up when the same text would be masked in another way."""

_LIBRARIES = ", ".join(f"{each} {version(each)}" for each in ("detect-secrets", "phonenumbers", "python-stdnum"))


@dataclass(slots=True)
class MaskingStage:
    """Masks any number of texts of one document, and counts."""

    masking: Masking
    phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
    pseudonyms: Pseudonyms | None = None
    """None: what is found is replaced by the placeholder of its kind."""
    masked: dict[str, int] = field(default_factory=dict)

    def mask(self, text: str) -> str:
        """Return the text with every identifier of the masking's kinds replaced."""
        return self.mask_with_places(text, ())[0]

    def mask_with_places(self, text: str, places: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text masked, and where places of it, in order, are then."""
        pseudonyms = self.pseudonyms
        found = [
            (span, pseudonyms.of(kind, read) if pseudonyms else kind.placeholder)
            for span, kind, read in self._identifiers(text)
        ]
        return (replaced(text, found), moved(places, found)) if found else (text, list(places))

    def found(self, text: str) -> list[tuple[Span, MaskKind]]:
        """Return where identifiers are, in order, and count them."""
        return [(span, kind) for span, kind, _ in self._identifiers(text)]

    def _identifiers(self, text: str) -> list[tuple[Span, MaskKind, str]]:
        """Return where identifiers are, in order, with what they read, and count them.

        Kinds go one after the other, the most specific first: what is found is no longer there for the next. They are
        searched for in the text as it is read, so that neither invisible characters nor markup hide them. Pseudonyms
        that it has already stay.
        """
        shadow = Shadow(text)
        whole = shadow.text
        seen, found = blanked(whole, token_spans(whole)), list[tuple[Span, MaskKind, str]]()
        for kind, finders in self._finders().items():
            if kind in self.masking.kinds:
                for finder in finders:
                    if spans := apart(finder(seen)):
                        seen = blanked(seen, spans)
                        found += ((shadow.original(span), kind, whole[span[0] : span[1]]) for span in spans)
                        self.masked[kind.value] = self.masked.get(kind.value, 0) + len(spans)
        return sorted(found, key=lambda each: each[0])

    def mask_fact(self, name: str, fact: str | float | bool) -> str | float | bool:  # noqa: FBT001 - a value of metadata
        """Return a value of metadata masked, a whole number by its digits; what its name says about it counts."""
        if isinstance(fact, bool) or (isinstance(fact, float) and not fact.is_integer()):
            return fact
        text = fact if isinstance(fact, str) else str(int(fact))
        label = f"{name.replace('_', ' ')}: "
        masked = self.mask(label + text).removeprefix(label)
        return fact if masked == text else masked

    def name(self) -> str:
        """Return the stage as a step of a document's provenance."""
        kinds = ",".join(kind for kind in self.masking.names if MaskKind(kind) in STRUCTURED) or "none"
        what = "pseudonymise" if self.pseudonyms else "mask"
        return f"{what} {STAGE_VERSION} ({kinds}; {_LIBRARIES})"

    def _finders(self) -> Mapping[MaskKind, Sequence[Finder]]:
        return {
            MaskKind.CREDENTIAL: credentials.FINDERS,
            MaskKind.EMAIL: (find_emails, find_written_emails),
            MaskKind.IBAN: (find_ibans,),
            MaskKind.CARD: (find_cards,),
            MaskKind.NATIONAL_ID: (find_national_ids,),
            MaskKind.IP: (find_addresses,),
            MaskKind.PHONE: (phone_finder(self.phone_regions),),
        }
