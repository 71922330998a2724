"""From tokens to text as it comes: whole characters only, and never a part of a stop text."""

from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

_MAX_TOKENS_WITHOUT_TEXT = 16
"""A character is at most four tokens. Every step decodes again all tokens that made no text yet."""


class TextStream:
    """Turns the growing answer of a model into pieces of text."""

    def __init__(
        self, tokenizer: Tokenizer, *, stop: Sequence[str] = (), spoken: Mapping[int, str] | None = None
    ) -> None:
        """`spoken` are special tokens that are text here."""
        self._tokenizer = tokenizer
        self._spoken = spoken or {}
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._without_text = 0
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        """Whether a stop text has come; nothing follows it."""

    def feed(self, tokens: Sequence[int]) -> str:
        """Return the text that these next tokens make certain, "" where that is none yet."""
        for token in tokens:
            self._held += self._decoded(token)
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        cut = len(self._held) - max((_overlap(self._held, stop) for stop in self._stop), default=0)
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    @property
    def held(self) -> int:
        """How many characters are held back for a stop text."""
        return len(self._held)

    def _decoded(self, token: int) -> str:
        if token in self._spoken:
            return self._spoken[token]
        text = self._decoder.step(self._tokenizer, token) or ""
        self._without_text = 0 if text else self._without_text + 1
        if self._without_text >= _MAX_TOKENS_WITHOUT_TEXT:
            self._decoder, self._without_text = DecodeStream(skip_special_tokens=True), 0
        return text

    def end(self) -> str:
        """Return what was held back for a stop text that did not come; half a character is dropped."""
        text, self._held = self._held, ""
        return text


class WholeCharacters:
    """Puts characters together whose halves, as UTF-16 has them, come in two pieces; half of one alone is U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return the whole characters that there are by now."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return joined(text[: len(text) - len(self._half)])

    def end(self) -> str:
        """Return what is left."""
        half, self._half = self._half, ""
        return joined(half)


def joined(text: str) -> str:
    """Return the text with the halves of its characters put together; one that is alone is U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of the text may be the beginning of the stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
