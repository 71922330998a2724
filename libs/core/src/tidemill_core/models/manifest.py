"""Manifests of artifacts: which files a model or adapter consists of, and what may be among them.

Only data is let in. A file that could run when it is loaded (a pickle, Python, a config that names code) is refused by
name before anything is loaded.
"""

import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.models.int8 import INT8, QUANTIZATION
from tidemill_core.models.json_files import is_known
from tidemill_core.models.tokenizer_rules import UnsafeTokenizerError, check_tokenizer

_DATA_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".md"})
_DATA_NAMES = frozenset({"LICENSE", "LICENCE", "NOTICE"})
_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMES_CODE = frozenset({"auto_map", "custom_pipelines"})
"""Keys by which transformers finds Python files to run."""
_NAMES_KERNEL = re.compile(r"attn_implementation|experts_implementation|kernel_config|kernels_mapping", re.IGNORECASE)
"""Keys by which transformers finds compiled code: a name with a slash is a repository to fetch it from."""
_WEIGHTS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}\.safetensors")
_INDEX = ".safetensors.index.json"
MAX_JSON_BYTES = 1024**2
MAX_INDEX_BYTES = 16 * 1024**2
MAX_VOCABULARY_BYTES = 64 * 1024**2
_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json"})
_ARCHIVE_OR_PICKLE = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
_MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file, by its format's definition."""


class ArtifactRefused(InvalidInput):
    """A file is not let in, or not the one that the manifest names."""

    reason = "ARTIFACT_REFUSED"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(violations=[Violation(path, why)], file=path)
        self.path = path


@dataclass(frozen=True, slots=True, order=True)
class ArtifactFile:
    """One file; `path` is relative, with forward slashes."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a path that leads out of the folder, or a file that is not data."""
        pure = PurePosixPath(self.path)
        if str(pure) != self.path or not all(_SAFE_PART.fullmatch(part) for part in pure.parts):
            raise ArtifactRefused(self.path, "is not a plain relative path")
        if pure.suffix not in _DATA_SUFFIXES and pure.name not in _DATA_NAMES:
            raise ArtifactRefused(
                self.path, f"is not data: allowed are {', '.join(sorted(_DATA_SUFFIXES))} and LICENSE"
            )
        if self.size < 0 or not _SHA256.fullmatch(self.sha256):
            raise ArtifactRefused(self.path, "has no size or no sha256")


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of an artifact, ordered by path."""

    files: Sequence[ArtifactFile]

    def __post_init__(self) -> None:
        """Order the files, and refuse an empty manifest or one that names a file twice."""
        ordered = tuple(sorted(self.files))
        object.__setattr__(self, "files", ordered)
        if not ordered:
            raise ArtifactRefused(path=".", why="has no files")
        seen: set[str] = set()
        for file in ordered:
            if file.path.lower() in seen:  # where case does not count, one would hide the other
                raise ArtifactRefused(file.path, "is there twice")
            seen.add(file.path.lower())

    @property
    def digest(self) -> str:
        """Name of the whole artifact: sha256 over path, size and sha256 of every file."""
        lines = "".join(f"{file.path}\n{file.size}\n{file.sha256}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size for file in self.files)

    @classmethod
    def from_folder(cls, folder: Path) -> "Manifest":
        """Read and check every file below a folder; blocks for as long as reading takes.

        A link is refused wherever it leads, so a folder of the Hugging Face cache has to be copied with its files.

        Raises:
            ArtifactRefused: the first file that is not let in.

        """
        files = []
        for path, file in _files(folder):
            refuse_unknown_json(file.path)
            refuse_what_runs(path, file.path)
            files.append(file)
        return cls(files)

    def verify(self, folder: Path, *, scanning: bool = False) -> None:
        """Compare a folder with the manifest, byte by byte; blocks for as long as reading takes.

        `scanning` looks into the files as `from_folder` does: once is enough, of the same bytes it is the same.

        Raises:
            ArtifactRefused: the first file that is damaged, missing, added or not let in.

        """
        found = {file.path: file for _, file in _files(folder)}
        for file in self.files:
            if file.path not in found:
                raise ArtifactRefused(file.path, "is missing")
            if found.pop(file.path) != file:
                raise ArtifactRefused(file.path, "is damaged: its size or sha256 is not the manifest's")
        for path in found:
            raise ArtifactRefused(path, "is not in the manifest")
        if scanning:
            for file in self.files:
                refuse_what_runs(folder / file.path, file.path)


def refuse_unknown_json(path: str) -> None:
    """Refuse a JSON file that a model has no use for; what was stored before it was asked is not asked again.

    Raises:
        ArtifactRefused: names it.

    """
    if not is_known(path):
        raise ArtifactRefused(path, "is no JSON file that a model is loaded by: leave it out of the folder")


def max_json_bytes(path: str) -> int:
    """Return how large a JSON file of this name may be: it is read whole."""
    name = PurePosixPath(path).name
    if name in _VOCABULARIES:
        return MAX_VOCABULARY_BYTES
    return MAX_INDEX_BYTES if name.endswith(_INDEX) else MAX_JSON_BYTES


def check_index(content: object, path: str) -> Sequence[str]:
    """Return the files that an index of weights names; each must be a plain name beside the index.

    Raises:
        ArtifactRefused: it names none, or one that leads elsewhere.

    """
    weights = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise ArtifactRefused(path, "has no weight_map")
    names = list(weights.values())
    if not all(isinstance(name, str) and _WEIGHTS.fullmatch(name) for name in names):
        raise ArtifactRefused(path, "its weight_map names what is no .safetensors file beside it")
    return sorted(set(names))


def _files(folder: Path) -> Iterator[tuple[Path, ArtifactFile]]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise ArtifactRefused(relative, "is a link or no plain file: copy the file itself")
        yield path, ArtifactFile(relative, path.stat().st_size, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_what_runs(path: Path, relative: str) -> None:
    """Look into a local file, which may have any name, for what its name in the manifest does not show.

    Raises:
        ArtifactRefused: its content is not what the suffix says, or it names code to run.

    """
    suffix = PurePosixPath(relative).suffix
    with path.open("rb") as file:
        start = file.read(9)
    if suffix == ".safetensors":
        header = int.from_bytes(start[:8], "little")
        if start[8:] != b"{" or header > min(_MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ArtifactRefused(relative, "is not in the safetensors format")
    elif start.startswith(_ARCHIVE_OR_PICKLE):
        raise ArtifactRefused(relative, "is a pickle or an archive")
    if suffix == ".json":
        _check_json(path, relative)


def _check_json(path: Path, relative: str) -> None:
    """Refuse JSON that is too large to be read whole, or asks for something that runs, or that is elsewhere."""
    size, limit = path.stat().st_size, max_json_bytes(relative)
    if size > limit:
        raise ArtifactRefused(relative, f"has {size} bytes; the limit is {limit}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactRefused(relative, "is not JSON") from error
    pairs = list(_pairs(content))
    if named := _NAMES_CODE & {key for key, _ in pairs}:
        raise ArtifactRefused(relative, f"names code to run: {min(named)}")
    for key, value in pairs:
        if _NAMES_KERNEL.search(key) and "/" in json.dumps(value):
            raise ArtifactRefused(relative, f"names code to fetch: {key[:64]}")
    if relative.endswith(_INDEX):
        check_index(content, relative)
    if PurePosixPath(relative).name == "config.json":
        _check_quantization(content, pairs, relative)
    try:
        check_tokenizer(content)
    except UnsafeTokenizerError as error:
        raise ArtifactRefused(relative, str(error)) from error


def _check_quantization(content: object, pairs: Sequence[tuple[str, object]], relative: str) -> None:
    """Refuse quantized weights of other formats than our own; transformers would load code for some."""
    own = isinstance(content, Mapping) and content.get(QUANTIZATION) == INT8
    if sum(key == QUANTIZATION and value is not None for key, value in pairs) > own:
        message = (
            f"has a {QUANTIZATION} of another format than ours: import the full weights, and quantize them by "
            "`tidemill models derive`"
        )
        raise ArtifactRefused(relative, message)


def _pairs(content: object) -> Iterator[tuple[str, object]]:
    """Yield every key of every object with its value, however deep."""
    todo = [content]
    while todo:
        match todo.pop():
            case dict() as mapping:
                yield from mapping.items()
                todo += [each for each in mapping.values() if isinstance(each, dict | list)]
            case list() as items:
                todo += [each for each in items if isinstance(each, dict | list)]
