"""Finds names of persons, places and organisations by a token classification model of Hugging Face's format.

Runs in a process of its own: it imports torch, and what it reads was chosen by a project.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill_core.models.manifest import ArtifactRefused, Manifest
from tidemill_ingest.masking.kinds import MaskKind
from tidemill_ingest.masking.spans import Span, apart

if TYPE_CHECKING:
    from tokenizers import Encoding

_KINDS: Mapping[str, MaskKind] = {
    **dict.fromkeys(("PER", "PERSON", "PERS"), MaskKind.PERSON),
    **dict.fromkeys(("LOC", "LOCATION", "GPE", "PLACE", "FAC"), MaskKind.PLACE),
    **dict.fromkeys(("ORG", "ORGANIZATION", "ORGANISATION"), MaskKind.ORGANISATION),
}
"""Labels of the usual corpora (CoNLL, OntoNotes, WikiANN)."""
_PREFIX = re.compile(r"(?:[BIESLU])[-_]")
_BEGINS = ("B-", "B_", "S-", "S_", "U-", "U_")
_MAX_TOKENS, _OVERLAP = 512, 64
_TOKENS_PER_PASS = 2048
_BLOCK = 20_000
"""Characters that are tokenized at once."""
_BETWEEN = re.compile(r"[ \u00a0]?[-\u2013'\u2019.]?[ \u00a0]?")
"""What may stand between two words of one name."""
_NO_NAME = re.compile(r"[\d_/\\@=<>{}\[\]|`]")
"""Characters of code, identifiers and placeholders."""
_LETTER = re.compile(r"[^\W\d_]")
_ENDS = " \u00a0\t\n.,;:!?\"'\u2018\u2019\u201c\u201d\u201e«»()-\u2013"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A model on this machine's disk, and what its files must be."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens that the model reads together: of which text, and where in it they are."""

    text: int
    shift: int
    encoding: "Encoding"


@lru_cache(maxsize=1)
def name_finder(model: ModelFolder) -> "NameFinder":
    """Return the model, verified before it is loaded; loaded once in this process.

    Raises:
        ArtifactRefused: names the file and what is wrong in it.

    """
    model.manifest.verify(model.path)
    return NameFinder(model.path)


class NameFinder:
    """One loaded model. A window of its tokens overlaps the next, so that no name is cut in both."""

    def __init__(self, folder: Path) -> None:
        """Load from a verified folder. Blocks for some seconds.

        Raises:
            ArtifactRefused: names the file and what is wrong in it.

        """
        from tidemill_kit.models.folders import CONFIG, checked_config, passed_on  # noqa: PLC0415 - in its process only
        from tidemill_kit.models.serving_imports import leave_out_training  # noqa: PLC0415

        leave_out_training()
        import torch  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415
        from transformers import AutoModelForTokenClassification  # noqa: PLC0415

        torch.set_num_threads(1)
        self._torch = torch
        config = checked_config(folder, AutoModelForTokenClassification.from_config)
        self._labels = [str(config.id2label[number]) for number in range(len(config.id2label))]
        if not {_kind(label) for label in self._labels} - {None}:
            why = f"has none of the labels PER, LOC, ORG in id2label, but {', '.join(self._labels[:8])}"
            raise ArtifactRefused(CONFIG, why)
        with passed_on(folder) as given:
            self._network: Any = AutoModelForTokenClassification.from_pretrained(
                given,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            ).eval()
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        limit = min(int(getattr(config, "max_position_embeddings", None) or _MAX_TOKENS), _MAX_TOKENS)
        self._tokenizer.enable_truncation(limit, stride=min(_OVERLAP, limit // 4))
        self._tokenizer.no_padding()

    def found(self, texts: Sequence[str]) -> list[list[tuple[Span, MaskKind]]]:
        """Return where names are in each text, in order and apart from each other."""
        windows = [window for number, text in enumerate(texts) for window in self._windows(number, text)]
        windows.sort(key=lambda window: len(window.encoding.ids))
        found: list[dict[Span, MaskKind]] = [{} for _ in texts]
        for batch in _batches(windows):
            for window, labels in zip(batch, self._labelled(batch), strict=True):
                text = texts[window.text]
                for (start, stop), kind in _names(text[window.shift :], window.encoding, labels):
                    found[window.text][start + window.shift, stop + window.shift] = kind
        return [[(span, names[span]) for span in _longest(names)] for names in found]

    def _windows(self, number: int, text: str) -> Iterator[_Window]:
        for shift, block in _blocks(text):
            encoding = self._tokenizer.encode(block)
            for each in (encoding, *encoding.overflowing):
                yield _Window(number, shift, each)

    def _labelled(self, batch: Sequence[_Window]) -> list[list[str]]:
        torch = self._torch
        longest = max(len(window.encoding.ids) for window in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        there = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, window in enumerate(batch):
            length = len(window.encoding.ids)
            ids[row, :length] = torch.tensor(window.encoding.ids)
            there[row, :length] = 1
        with torch.inference_mode():
            best = self._network(input_ids=ids, attention_mask=there).logits.argmax(-1).tolist()
        return [[self._labels[label] for label in row] for row in best]


def _kind(label: str) -> MaskKind | None:
    return _KINDS.get(_PREFIX.sub("", label, count=1).upper())


def _names(text: str, encoding: "Encoding", labels: Sequence[str]) -> Iterator[tuple[Span, MaskKind]]:
    """Yield the names of a window: words side by side of one kind; a word is of the kind of its first token."""
    names: list[tuple[int, int, MaskKind]] = []
    word, kind = None, None
    for number, (start, stop) in enumerate(encoding.offsets):
        if encoding.special_tokens_mask[number] or start == stop:
            continue
        label = labels[number]
        first = encoding.word_ids[number] != word
        word, kind = encoding.word_ids[number], _kind(label) if first else kind
        if kind is None:
            continue
        goes_on = bool(names) and names[-1][2] is kind and (not first or not label.startswith(_BEGINS))
        if goes_on and _BETWEEN.fullmatch(text, names[-1][1], start):
            names[-1] = names[-1][0], stop, kind
        else:
            names.append((start, stop, kind))
    for start, stop, kind in names:
        if span := _trimmed(text, start, stop):
            yield span, kind


def _trimmed(text: str, start: int, stop: int) -> Span | None:
    """Return the span without punctuation around it; None where it is no name but code, a number or a placeholder."""
    while start < stop and text[start] in _ENDS:
        start += 1
    while start < stop and text[stop - 1] in _ENDS:
        stop -= 1
    named = text[start:stop]
    if not _LETTER.search(named) or _NO_NAME.search(named) or (start and text[start - 1] in "[_@/"):
        return None
    return start, stop


def _longest(names: Iterable[Span]) -> list[Span]:
    """Return the spans in order; of two that begin at one place, as windows that overlap find them, the longer."""
    longest: dict[int, Span] = {}
    for span in sorted(names):
        longest[span[0]] = span
    return apart(longest.values())


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(text):
        stop = min(len(text), start + _BLOCK)
        if stop < len(text):
            cut = max(text.rfind("\n", start, stop), text.rfind(" ", start + _BLOCK // 2, stop))
            stop = cut if cut > start else stop
        yield start, text[start:stop]
        start = stop


def _batches(windows: Sequence[_Window]) -> Iterator[Sequence[_Window]]:
    batch: list[_Window] = []
    for window in windows:
        if batch and len(window.encoding.ids) * (len(batch) + 1) > _TOKENS_PER_PASS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
