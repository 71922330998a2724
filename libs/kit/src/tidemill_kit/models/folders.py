"""A model's folder before transformers loads it: what its JSON may ask for, and whether its weights are what it says.

Three services load models that others made. What reaches transformers is a config without what could fetch code or
weights from elsewhere, and only once the headers of the weights hold what a model of that config has: so nothing is
read outside the folder, and what it will take is known before it is taken.
"""

import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidemill_core.errors import isolated
from tidemill_core.models import json_files as model_json
from tidemill_core.models.int8 import QUANTIZATION
from tidemill_core.models.manifest import MAX_INDEX_BYTES, MAX_JSON_BYTES, ArtifactRefused, check_index
from tidemill_kit.models.serving_imports import import_transformers

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
AS_THEY_ARE = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja", "*.model")
"""What a tokenizer is made of; patterns of the first are checked when a model is registered."""
MAX_HEADER_BYTES = 16 * 1024**2
SPARE_BUFFER_BYTES = 64 * 1024**2
MISSING_SHARE = 0.05
"""Of the numbers of a model that its files may lack: tied or derived ones have other names in some formats."""
_NEVER = re.compile(
    r"attn_implementation|experts_implementation|use_kernels|kernel_config|quantization|auto_map|custom_|trust_remote"
    r"|name_or_path|^num_labels$",
    re.IGNORECASE,
)
"""Keys that name code, kernels, formats or places, or that make lists as long as they say."""
_LEGACY = frozenset({"model_type", "torch_dtype", "rope_theta", "rope_scaling", "rope_type", "layer_types"})
"""Texts and structures that configs of older versions have under names that are no fields now."""
_VERSION = re.compile(r"\d{1,3}(\.\w{1,8}){1,4}")
_GENERAL_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
_COUNTS = re.compile(r"layers?$|experts?$|blocks?$|depth$|^n_layer|^num_.*(layer|expert|block)", re.IGNORECASE)


def checked_config(folder: Path, build: Callable[[Any], Any], *, quantized: bool = False) -> Any:  # noqa: ANN401 - of transformers
    """Return the config to load a verified folder with; `build` makes a model of a config, as `from_config` does.

    Blocks for about a second. Nothing is loaded: the model is built without its numbers. `quantized` is for those that
    load int8 weights with their scales: for all others they would be wrong numbers.

    Raises:
        ArtifactRefused: names the file and what is wrong in it.

    """
    import torch  # noqa: PLC0415 - seconds of imports, in services that have it anyway

    if not quantized and is_quantized(folder):
        why = "has int8 weights, which only the engine transformers loads; elsewhere use what they were derived from"
        raise ArtifactRefused(CONFIG, why)
    tensors = tensors_of(folder)
    config = loadable_config(folder, tensors=len(tensors))
    try:
        with isolated(), torch.device("meta"):
            network = build(config)
    except Exception as error:  # each model class of transformers checks its config in its own way
        raise ArtifactRefused(CONFIG, f"makes no model ({type(error).__name__})") from error
    expected = {name: tuple(each.shape) for name, each in network.named_parameters()}
    _compare(expected, tensors)
    buffers = sum(each.numel() * each.element_size() for each in network.buffers())
    if buffers > SPARE_BUFFER_BYTES + 2 * sum(map(math.prod, tensors.values())):
        raise ArtifactRefused(CONFIG, f"asks for {buffers} bytes beside its weights")
    return config


def is_quantized(folder: Path) -> bool:
    """Return whether the folder's weights are int8, by its config.

    Raises:
        ArtifactRefused: it has no config that can be read.

    """
    return _json(folder / CONFIG, limit=MAX_JSON_BYTES).get(QUANTIZATION) is not None


def loadable_config(folder: Path, *, tensors: int) -> Any:  # noqa: ANN401 - of transformers
    """Return the config without what is never passed on; `tensors` is how many the weights have.

    Raises:
        ArtifactRefused: it is no config that transformers knows, or counts more layers than there are tensors.

    """
    import_transformers()
    from transformers import AutoConfig  # noqa: PLC0415 - seconds of imports

    content = _json(folder / CONFIG, limit=MAX_JSON_BYTES)
    for key, count in _counts(content):
        if count > max(tensors, 1):
            raise ArtifactRefused(CONFIG, f"{key} is {count}, and the weights have {tensors} tensors")
    model_type = str(content.get("model_type"))
    try:
        with isolated():
            known = AutoConfig.for_model(model_type)
            return type(known).from_dict(_kept(content, known))
    except Exception as error:  # each config class of transformers checks in its own way
        raise ArtifactRefused(CONFIG, f"is no config that can be read ({type(error).__name__})") from error


@contextmanager
def passed_on(folder: Path) -> Iterator[Path]:
    """Give a folder with what transformers may read of a verified one: known files, with known keys, and no others.

    Blocks for some milliseconds; what is loaded from it stays usable when it is gone.

    Raises:
        ArtifactRefused: names the file and what is wrong in it.

    """
    with tempfile.TemporaryDirectory(prefix="model-") as made:
        given = Path(made)
        weights = _weight_files(folder)
        for path in [*weights, *(path for pattern in AS_THEY_ARE for path in folder.glob(pattern))]:
            if not path.is_file() or path.is_symlink():
                raise ArtifactRefused(path.name, "is a link or no plain file")
            (given / path.name).symlink_to(path.resolve())
        if weights[0].name != WEIGHTS:
            (given / INDEX).symlink_to((folder / INDEX).resolve())
        for name, kept in _passed_json(folder).items():
            (given / name).write_text(json.dumps(kept), encoding="utf-8")
        yield given


def _passed_json(folder: Path) -> Mapping[str, Mapping[str, object]]:
    """Return the small JSON files that transformers reads beside the config that it is given."""
    classes = _tokenizer_classes()
    config = _json(folder / CONFIG, limit=MAX_JSON_BYTES)
    about = {key: config[key] for key in ("model_type", "vocab_size") if isinstance(config.get(key), str | int)}
    if isinstance(named := config.get("tokenizer_class"), str) and named in classes:
        about["tokenizer_class"] = named
    if _VERSION.fullmatch(str(config.get("transformers_version"))):
        about["transformers_version"] = config["transformers_version"]
    read: Mapping[str, Callable[[Mapping[str, object]], Mapping[str, object]]] = {
        "tokenizer_config.json": lambda content: model_json.tokenizer_config(content, classes=classes),
        "special_tokens_map.json": model_json.special_tokens,
        "added_tokens.json": model_json.added_tokens,
        "generation_config.json": model_json.generation_config,
    }
    there = [name for name in read if (folder / name).is_file()]
    return {CONFIG: about} | {name: read[name](_json(folder / name, limit=MAX_JSON_BYTES)) for name in there}


def _tokenizer_classes() -> frozenset[str]:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES  # noqa: PLC0415 - seconds

    names = {name for name in TOKENIZER_MAPPING_NAMES.values() if name}
    plain = {name.removesuffix("Fast") for name in names}
    return frozenset({*names, *plain, *(f"{name}Fast" for name in plain), *_GENERAL_TOKENIZERS})


def tensors_of(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """Return name and shape of every tensor that transformers would load from a folder, by the files' headers.

    Raises:
        ArtifactRefused: an index leads to another file than one of the folder's, or a header is not one of safetensors.

    """
    found: dict[str, tuple[int, ...]] = {}
    for relative, name, entry in _entries(folder):
        try:
            found[name] = tuple(int(size) for size in entry["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactRefused(relative, "has a header that is not one of safetensors") from error
    return found


def stored_in(folder: Path, numeric_format: str) -> Mapping[str, int]:
    """Return name and bytes of each tensor that is stored in `bfloat16` or `float32`: it is mapped and not copied.

    Raises:
        ArtifactRefused: as `tensors_of`.

    """
    kind = {"bfloat16": "BF16", "float32": "F32"}[numeric_format]
    found: dict[str, int] = {}
    for relative, name, entry in _entries(folder):
        try:
            begin, end = entry["data_offsets"]
            if entry["dtype"] == kind:
                found[name] = int(end) - int(begin)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactRefused(relative, "has a header that is not one of safetensors") from error
    return found


def _entries(folder: Path) -> Iterator[tuple[str, str, Any]]:
    for path in _weight_files(folder):
        relative = path.relative_to(folder).as_posix()
        for name, entry in _header(path, relative).items():
            if name != "__metadata__":
                yield relative, name, entry


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        raise ArtifactRefused(WEIGHTS, "is missing, and so is its index")
    files = [folder / name for name in check_index(_json(folder / INDEX, limit=MAX_INDEX_BYTES), INDEX)]
    for path in files:
        if not path.is_file() or path.is_symlink():
            raise ArtifactRefused(INDEX, f"its weight_map names {path.name}, which is none of the model's files")
    return files


def _header(path: Path, relative: str) -> Mapping[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ArtifactRefused(relative, f"has a header of {length} bytes; the limit is {MAX_HEADER_BYTES}")
        return _object(file.read(length), relative)


def _json(path: Path, *, limit: int) -> Mapping[str, Any]:
    size = path.stat().st_size if path.is_file() else 0
    if not 0 < size <= limit:
        raise ArtifactRefused(path.name, f"has {size} bytes; allowed are 1 to {limit}")
    return _object(path.read_bytes(), path.name)


def _object(content: bytes, relative: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactRefused(relative, "is not JSON") from error
    if not isinstance(parsed, dict):
        raise ArtifactRefused(relative, "is not a JSON object")
    return parsed


def _kept(content: Mapping[str, Any], known: Any) -> dict[str, Any]:  # noqa: ANN401 - a config of transformers
    """Return what is passed on: fields of the config's class, and plain numbers under any name."""
    fields = {*type(known).__dataclass_fields__, *getattr(known, "attribute_map", {}), *_LEGACY}
    parts = getattr(known, "sub_configs", {})
    kept: dict[str, Any] = {}
    for key, value in content.items():
        if _NEVER.search(key):
            continue
        if key in fields or key in parts or isinstance(value, bool | int | float | None):
            kept[key] = _scrubbed(value)
    return kept


def _scrubbed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _scrubbed(each) for key, each in value.items() if not _NEVER.search(key)}
    return [_scrubbed(each) for each in value] if isinstance(value, list) else value


def _counts(content: object) -> Iterator[tuple[str, int]]:
    todo = [content]
    while todo:
        match todo.pop():
            case dict() as mapping:
                for key, value in mapping.items():
                    if isinstance(value, int) and _COUNTS.search(key):
                        yield key, value
                    todo.append(value)
            case list() as items:
                todo.extend(items)


def _compare(expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights of other shapes, or fewer numbers, than the model has."""
    for name, shape in expected.items():
        there = stored.get(name)
        if there is not None and there != shape:
            raise ArtifactRefused(CONFIG, f"makes {name} {list(shape)}, and the weights have {list(there)}")
    needed, there_are = (sum(map(math.prod, tensors.values())) for tensors in (expected, stored))
    if there_are < needed * (1 - MISSING_SHARE):
        raise ArtifactRefused(CONFIG, f"makes a model of {needed} numbers, and the weights have {there_are}")
