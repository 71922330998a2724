import json
import time

import pytest

from tidemill_core.models.tokenizer_rules import UnsafeTokenizerError, check_tokenizer

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


KNOWN_DECODERS: dict[str, object] = {
    "gpt2": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "llama": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "bert": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "wav2vec2": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    "t5": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
}


@pytest.mark.parametrize("name", KNOWN_DECODERS)
def test_the_decoders_of_known_tokenizers_are_allowed(name: str) -> None:
    check_tokenizer({"decoder": KNOWN_DECODERS[name], "model": {"vocab": {"a": 0}}, "added_tokens": []})


def replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([replace({"Regex": "a*b"}, "")], "Regex"),
        ([replace({"String": "a"}, "a" * 9)] * 2, "81 characters of one"),
        ([replace({"String": ""}, "a" * 64)], "65 characters of one"),
        ([{"type": "BPEDecoder", "suffix": ""}] * 7, "128 characters of one"),
        ([{"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": True}] * 7, "128 characters of one"),
        ([{"type": "Strip", "content": " ", "start": 0, "stop": 1}], "stop above 0"),
        ([{"type": "Fuse"}] * 16, "17 steps"),
    ],
)
def test_a_decoder_whose_work_is_not_linear_in_the_text_is_refused(steps: list[dict[str, object]], says: str) -> None:
    with pytest.raises(UnsafeTokenizerError, match=says):
        check_tokenizer({"decoder": {"type": "Sequence", "decoders": steps}})


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"vocab": {"x" * 1025: 0}}},
        {"model": {"vocab": [["x" * 1025, -1.0]]}},
        {"added_tokens": [{"id": 0, "content": "x" * 1025}]},
    ],
)
def test_a_token_of_endless_length_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(UnsafeTokenizerError, match="1025 characters"):
        check_tokenizer(content)


@pytest.mark.parametrize(
    "content", [[], "x", {"decoder": 1, "model": [], "added_tokens": {}}, {"model": {"vocab": [[]]}}]
)
def test_json_of_another_shape_is_left_to_the_loader(content: object) -> None:
    check_tokenizer(content)


@pytest.mark.heavy
@pytest.mark.parametrize("pattern", ["(" * 100_000, "[" * 100_000, "\\", "a{", ")" * 1000, "[^]", "(?", "\\p{" * 1000])
def test_nonsense_is_checked_in_a_time_that_grows_with_its_length(pattern: str) -> None:
    began = time.process_time()
    check_tokenizer(json.loads(json.dumps(tokenizer(pattern))))

    assert time.process_time() - began < 2
