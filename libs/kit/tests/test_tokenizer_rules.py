import json
import time

import pytest

from tidemill_kit.tokenizer_rules import UnsafeTokenizerError, check_tokenizer

KNOWN = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama 3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
    "gpt-4o": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "bloom": " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
    "deepseek": (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "digits by three": r"\d{1,3}(?=(?:\d{3})*\b)",
    "grouped from the right": r"(?=(\d{3})+(?!\d))",
    "clip": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "whisper": r"[^\n\r]+|\n+",
}


def tokenizer(pattern: str) -> dict[str, object]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]},
        "model": {"vocab": {}},
    }


@pytest.mark.parametrize("name", KNOWN)
def test_the_patterns_of_known_tokenizers_are_taken(name: str) -> None:
    check_tokenizer(tokenizer(KNOWN[name]))


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a|a)*$", "(a+)+", "(?:a*)*b", "((a+))+", "(a?){50}b", "(?:a|aa)+$", "(x+x+)+y", "([a-z]+)*", r"(\w+\s?)*!",
        "(?=(a|b)+)", r"(a)\1", r"(?<n>a)\k<n>", r"\s*\s*\s*\s*x",
        "(?:a+)(?:a+)(?:a+)(?:a+)b", "(a{1,9})+", "((a|b)c)*d",
        "(?i:(a|a))+", "(a|[)])+", "a+a+a+a+",
    ],
)  # fmt: skip
def test_a_pattern_that_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(UnsafeTokenizerError):
        check_tokenizer(tokenizer(pattern))


def test_a_replacement_that_makes_much_of_little_is_refused() -> None:
    check_tokenizer({"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}})
    for node in (
        {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 65},
        {"type": "Prepend", "prepend": "x" * 65},
    ):
        with pytest.raises(UnsafeTokenizerError, match="65 characters"):
            check_tokenizer({"normalizer": {"type": "Sequence", "normalizers": [node]}})


@pytest.mark.parametrize("pattern", ["(" * 100_000, "[" * 100_000, "\\", "a{", ")" * 1000, "[^]", "(?", "\\p{" * 1000])
def test_nonsense_is_looked_at_in_a_time_that_grows_with_its_length(pattern: str) -> None:
    began = time.process_time()
    check_tokenizer(json.loads(json.dumps(tokenizer(pattern))))

    assert time.process_time() - began < 2
