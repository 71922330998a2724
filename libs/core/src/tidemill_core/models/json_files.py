"""Which JSON files a model may have, and what of them reaches transformers: names and keys that stand here.

A file that is not listed is no part of a model. Of a listed one, transformers is given the listed keys with values of
their kind, whatever else the file says: no class, place, kernel or code that its author names.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from typing import TypeAlias

KeyRule: TypeAlias = Callable[[object], object | None]
"""Returns what is passed on of a value; None where it is nothing of that kind."""

TEXT_TOKENS = "tidemill_text_tokens"
"""Of a tokenizer_config.json: tokens that a training added, as text that people write: they control nothing."""
MAX_TEXT = 512
MAX_TEXTS = 20_000
MAX_TEMPLATE = 256 * 1024
_READ = frozenset(
    {
        "added_tokens.json",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    }
)
_NEVER_READ = frozenset(
    {
        "adapter_config.json",
        "adapter_model.safetensors.index.json",
        "all_results.json",
        "audio_tokenizer_config.json",
        "chat_template.json",
        "config_sentence_transformers.json",
        "data_config.json",
        "eval_results.json",
        "feature_extractor.json",
        "modelcard.json",
        "modules.json",
        "preprocessor_config.json",
        "processor_config.json",
        "sentence_bert_config.json",
        "special_tokens.json",
        "train_results.json",
        "trainer_state.json",
        "video_preprocessor_config.json",
    }
)
"""What folders of models have beside: transformers is not given these; some are read by Tidemill itself."""
_MODULE = re.compile(r"[0-9]{1,2}_[A-Za-z]{1,32}/config\.json")
"""Of sentence-transformers, as in 1_Pooling/config.json."""
_SPECIAL = re.compile(r"[a-z][a-z0-9_]{0,60}_token")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids", "special_tokens_mask"})
_TOKEN_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
_FLAGS = frozenset(
    {
        "add_bos_token",
        "add_eos_token",
        "add_prefix_space",
        "clean_up_tokenization_spaces",
        "do_basic_tokenize",
        "do_lower_case",
        "keep_accents",
        "legacy",
        "remove_space",
        "spaces_between_special_tokens",
        "strip_accents",
        "tokenize_chinese_chars",
        "trim_offsets",
        "use_default_system_prompt",
    }
)
_NUMBERS = frozenset({"max_len", "max_length", "model_max_length", "pad_to_multiple_of", "pad_token_type_id", "stride"})
_CHOICES: Mapping[str, Collection[str]] = {
    "errors": ("replace", "strict", "ignore"),
    "padding_side": ("left", "right"),
    "truncation_side": ("left", "right"),
    "truncation_strategy": ("longest_first", "only_first", "only_second"),
}
_GENERATION_NUMBERS = frozenset({"repetition_penalty", "temperature", "top_k", "top_p"})
_GENERATION_IDS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id"})


def is_known(path: str) -> bool:
    """Return whether a model may have a JSON file of this path; other files than JSON are not this function's."""
    pure = PurePosixPath(path)
    return pure.suffix != ".json" or path in _READ | _NEVER_READ or bool(_MODULE.fullmatch(path))


def tokenizer_config(content: Mapping[str, object], *, classes: Collection[str]) -> dict[str, object]:
    """Return what is passed on of a tokenizer_config.json; `classes` are the tokenizers that transformers has."""
    kept = special_tokens(content)
    for key, value in content.items():
        number = isinstance(value, int | float)
        known = (
            (key in _FLAGS and (value is None or isinstance(value, bool)))
            or (key in _NUMBERS and number and not isinstance(value, bool))
            or (isinstance(value, str) and value in _CHOICES.get(key, ()))
            or (key == "tokenizer_class" and isinstance(value, str) and value in classes)
            or (key == "model_input_names" and _are_inputs(value))
        )
        if known:
            kept[key] = value
    kinds = (("chat_template", _template), ("added_tokens_decoder", _numbered_tokens), (TEXT_TOKENS, _texts))
    for key, kind in kinds:
        if (passed := kind(content.get(key))) is not None:
            kept[key] = passed
    return kept


def special_tokens(content: Mapping[str, object]) -> dict[str, object]:
    """Return what is passed on of a special_tokens_map.json: names of tokens, and the tokens."""
    kept: dict[str, object] = {}
    for key, value in content.items():
        passed = None
        if _SPECIAL.fullmatch(key):
            passed = _token(value)
        elif key in {"additional_special_tokens", "extra_special_tokens"}:
            passed = _tokens(value)
        if passed is not None:
            kept[key] = passed
    return kept


def added_tokens(content: Mapping[str, object]) -> dict[str, object]:
    """Return what is passed on of an added_tokens.json: tokens and their numbers."""
    return {key: value for key, value in content.items() if len(key) <= MAX_TEXT and type(value) is int}


def generation_config(content: Mapping[str, object]) -> dict[str, object]:
    """Return what is passed on of a generation_config.json: how to sample, and where an answer ends."""
    kept: dict[str, object] = {}
    for key, value in content.items():
        ids = value if isinstance(value, list) else [value]
        sampled = key in _GENERATION_NUMBERS and type(value) in {int, float}
        ends = key in _GENERATION_IDS and all(type(each) is int for each in ids)
        if sampled or ends or (key == "do_sample" and isinstance(value, bool)):
            kept[key] = value
    return kept


def _are_inputs(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each in _INPUTS for each in value)


def _token(value: object) -> object | None:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else None
    if not isinstance(value, Mapping) or not isinstance(content := value.get("content"), str):
        return None
    flags = {name: value[name] for name in _TOKEN_FLAGS if isinstance(value.get(name), bool)}
    marked = {"__type": "AddedToken"} if value.get("__type") == "AddedToken" else {}
    return {**marked, "content": content, **flags} if len(content) <= MAX_TEXT else None


def _tokens(value: object) -> object | None:
    if isinstance(value, Mapping):
        named = {key: _token(each) for key, each in value.items() if _SPECIAL.fullmatch(key)}
        return {key: each for key, each in named.items() if each is not None}
    if not isinstance(value, list):
        return None
    return [token for each in value if (token := _token(each)) is not None]


def _texts(value: object) -> object | None:
    texts = value[:MAX_TEXTS] if isinstance(value, list) else []
    return [each for each in texts if isinstance(each, str) and len(each) <= MAX_TEXT] or None


def _numbered_tokens(value: object) -> object | None:
    if not isinstance(value, Mapping):
        return None
    tokens = {key: _token(each) for key, each in value.items() if key.isascii() and key.isdigit()}
    return {key: each for key, each in tokens.items() if isinstance(each, dict)}


def _template(value: object) -> object | None:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEMPLATE else None
    if not isinstance(value, list):
        return None
    named = [each for each in value if isinstance(each, Mapping)]
    pairs = [{"name": each.get("name"), "template": each.get("template")} for each in named]
    return [
        each
        for each in pairs
        if isinstance(each["name"], str) and isinstance(each["template"], str) and len(each["template"]) <= MAX_TEMPLATE
    ]
