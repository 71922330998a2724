"""Make the fingerprint of a text: its runs of words, and the keys of the bands that their minima make."""

from collections.abc import Sequence

from tidemill_ingest.quality.fingerprint import BANDS, MAX_SHINGLES, Fingerprint, digest_of_text
from tidemill_kit.texts.minhash import HASHES, Numbers, mixed, powers_of, sketches

_RUN = 5
"""Words of a shingle."""
_ROWS = HASHES // BANDS
"""Minima of a band."""
_DIGITS = 16
_PLACES = [(f"{number:02}-", number * _DIGITS) for number in range(BANDS)]
"""What the key of a band begins with, and where its digits do."""


def fingerprint(text: str, *, within: int) -> Fingerprint:
    """Return the fingerprint of a text; its shingles are those of so many characters from its start."""
    return fingerprints([text], within=within)[0]


def fingerprints(texts: Sequence[str], *, within: int) -> list[Fingerprint]:
    """Return the fingerprint of each text; many short ones together take half of the time of one by one."""
    found = sketches([text[:within] for text in texts], run=_RUN)
    bands = _bands(found.minima)
    return [
        Fingerprint(
            text_digest=digest_of_text(text),
            bands=keys if len(numbers) else (),
            shingles=numbers[:MAX_SHINGLES].astype("<u8").tobytes(),
            shingle_count=len(numbers),
        )
        for text, numbers, keys in zip(texts, found.shingles, bands, strict=True)
    ]


def _bands(minima: Numbers) -> list[tuple[str, ...]]:
    """Return the keys of each text's bands."""
    rows = mixed(minima).reshape(-1, BANDS, _ROWS)
    bands = mixed(rows @ powers_of(_ROWS))
    return [_keys(each) for each in bands]


def _keys(bands: Numbers) -> tuple[str, ...]:
    digits = bands.astype(">u8").tobytes().hex()
    return tuple([f"{prefix}{digits[begin : begin + _DIGITS]}" for prefix, begin in _PLACES])
