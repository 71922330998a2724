"""What a source requires of the texts of its documents, and what breaks it. The measures come with the document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum

from tidemill_core.errors import Violation, digest_of
from tidemill_ingest.limits import MEBIBYTE

MAX_LANGUAGES = 50
MAX_CHARACTERS = 16 * MEBIBYTE
"""More than any document has."""
_SHOWN = 20
SIMILARITY = 0.8
"""From which on texts are nearly the same, unless a source says otherwise."""


class DuplicatePolicy(Enum):
    """What becomes of a document whose text is that of another one of the project, or nearly."""

    KEEP = "keep"
    """It is published, and says so."""
    LINK = "link"
    """It is withheld, and published when the other one is not current any more."""
    REJECT = "reject"
    """Its submission is refused."""


class BoilerplatePolicy(Enum):
    """What becomes of parts of texts that repeat across the documents of a source."""

    KEEP = "keep"
    """They are searched like the rest."""
    REMOVE = "remove"
    """They are stored, and not searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Which document a text is a duplicate of."""

    document: str
    similarity: float
    """The share of runs of five words that both have, of those that either has."""
    exact: bool
    """Whether the texts are equal."""

    @property
    def words(self) -> str:
        """Return it for people."""
        if self.exact:
            return f"the text of document {self.document}"
        return f"{self.similarity:.2f} in common with document {self.document}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured of a text. Shares are between 0 and 1; `language` is "" where the text is too short."""

    characters: int
    language: str
    letters: float
    """Letters and digits, of the characters that are not white space."""
    symbols: float
    """Symbols, such as arrows, emoji and what became of a broken encoding, of the same characters."""
    repeated_lines: float
    """Lines that occurred before in the text, of all lines with words."""
    repeated_words: float
    """Words in runs of five that occur more than once, of all words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One rule that a text breaks."""

    reason: str
    """UPPER_SNAKE."""
    field: str
    """The rule, as it is declared."""
    value: str
    limit: str

    @property
    def message(self) -> str:
        """Return it as a sentence, for people."""
        return f"{self.field} is {self.limit}, and the text has {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The rules of a source; 0, or no language, is no rule.

    Repetition, letters and symbols are rules of Gopher (Rae et al., Scaling Language Models, 2021, table A1), and the
    lengths also of C4 (Raffel et al., Exploring the Limits of Transfer Learning, 2020).
    """

    languages: tuple[str, ...] = ()
    """Those that are accepted, as ISO 639 has them."""
    min_characters: int = 0
    max_characters: int = 0
    min_letters: float = 0.0
    max_symbols: float = 0.0
    max_repeated_lines: float = 0.0
    max_repeated_words: float = 0.0
    duplicates: DuplicatePolicy | None = None
    """None where documents are compared with no others, and others not with them."""
    min_similarity: float = 0.0
    """From which on texts are duplicates; 0 is `SIMILARITY`."""
    boilerplate: BoilerplatePolicy | None = None
    """None keeps it."""

    @property
    def digest(self) -> str:
        """Equal exactly where the same is declared; "" where nothing is."""
        declared = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}
        return digest_of(json.dumps(declared, sort_keys=True, default=lambda member: member.value)) if declared else ""

    @property
    def similarity(self) -> float:
        """From which on texts are duplicates."""
        return self.min_similarity or SIMILARITY

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with the rules themselves."""
        if len(self.languages) > MAX_LANGUAGES:
            text = f"has {len(self.languages)} entries, and {MAX_LANGUAGES} is the limit"
            yield Violation("source.quality.languages", text)
        for index, language in enumerate(self.languages[:MAX_LANGUAGES]):
            if not (language.isascii() and language.isalpha() and language.islower() and len(language) in (2, 3)):
                text = f"is {language[:_SHOWN]!r}; use a language of ISO 639, such as en, de or yue"
                yield Violation(f"source.quality.languages[{index}]", text)
        for name in ("min_characters", "max_characters"):
            if not 0 <= getattr(self, name) <= MAX_CHARACTERS:
                text = f"is {getattr(self, name)}; send 0 (no rule) to {MAX_CHARACTERS}"
                yield Violation(f"source.quality.{name}", text)
        if 0 < self.max_characters < self.min_characters:
            text = f"is {self.max_characters}, below min_characters, which is {self.min_characters}"
            yield Violation("source.quality.max_characters", text)
        for each in fields(self):
            if each.type is float and not 0 <= (share := getattr(self, each.name)) <= 1:
                yield Violation(f"source.quality.{each.name}", f"is {share}; send a share of 0 (no rule) to 1")
        if 0 < self.min_similarity < SIMILARITY:
            text = f"is {self.min_similarity}; send {SIMILARITY} to 1: less similar texts are not found reliably"
            yield Violation("source.quality.min_similarity", text)

    def breaches(self, measures: Measures, duplicate: Duplicate | None = None) -> tuple[Breach, ...]:
        """Return every rule that a text with these measures breaks, and that it is withheld as a duplicate."""
        return (*self._breaches(measures), *self._breaches_as_duplicate(duplicate))

    def _breaches_as_duplicate(self, duplicate: Duplicate | None) -> Iterator[Breach]:
        if duplicate is not None and self.duplicates in (DuplicatePolicy.LINK, DuplicatePolicy.REJECT):
            reason = "DUPLICATE" if duplicate.exact else "NEAR_DUPLICATE"
            yield Breach(reason=reason, field="duplicates", value=duplicate.words, limit=self.duplicates.value)

    def _breaches(self, measures: Measures) -> Iterator[Breach]:
        length = measures.characters
        if length < self.min_characters:
            yield Breach(
                reason="TEXT_TOO_SHORT", field="min_characters", value=f"{length}", limit=f"{self.min_characters}"
            )
        if 0 < self.max_characters < length:
            yield Breach(
                reason="TEXT_TOO_LONG", field="max_characters", value=f"{length}", limit=f"{self.max_characters}"
            )
        if self.languages and measures.language and measures.language not in self.languages:
            accepted = ", ".join(self.languages)
            yield Breach(reason="LANGUAGE_NOT_ACCEPTED", field="languages", value=measures.language, limit=accepted)
        if measures.letters < self.min_letters:
            yield _share("TOO_FEW_LETTERS", "min_letters", measures.letters, self.min_letters)
        if 0 < self.max_symbols < measures.symbols:
            yield _share("TOO_MANY_SYMBOLS", "max_symbols", measures.symbols, self.max_symbols)
        if 0 < self.max_repeated_lines < measures.repeated_lines:
            yield _share("LINES_REPEATED", "max_repeated_lines", measures.repeated_lines, self.max_repeated_lines)
        if 0 < self.max_repeated_words < measures.repeated_words:
            yield _share("WORDS_REPEATED", "max_repeated_words", measures.repeated_words, self.max_repeated_words)


def _share(reason: str, field: str, value: float, limit: float) -> Breach:
    return Breach(reason=reason, field=field, value=f"{value:.3g}", limit=f"{limit:.3g}")
