"""What profiles count of a text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Measured of the masked text of every version, whether its source has rules of quality or not."""

    characters: int
    words: int
    language: str
    """By ISO 639; "" where that is not clear."""
    readability: float | None
    """Björnsson's LIX (Läsbarhet, 1968): words a sentence, and the share of words of more than six letters in percent.

    Below 30 is easy, above 60 hard, in every language that sets words apart; None where there are too few words.
    """
    digest: int
    """64 bits of a hash of the text, by which different texts are counted."""
