"""Makes a model of names and measures it: `python -m tests.bench.names FOLDER`.

The packaged encoder (all-MiniLM-L6-v2) learns to find persons, places and organisations in sentences that are made of
templates in eight languages. What it writes is a folder as `tidemill models import names FOLDER` takes it. Measured are
sentences of other templates with names of other words, and the hand-written ones of `tests.bench._names`, whose names
were kept out of what is learnt, too. Nothing was chosen by either. Some of both go ingest's own way, too: a model that
is verified by its manifest, in a process of its own, behind the kinds that have a structure. `--measure` makes nothing
and measures a folder that is there, made here or elsewhere. Exits with 1 where the hand-written ones are below a bar.
"""

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import process_time

import torch

from services.ingest.tests.documents.test_names import Models, prepared
from tests.bench import _names
from tests.bench._folders import refuse_filled
from tests.bench._labelled import Counts, Line
from tests.bench.masking import MIN_NAMES_PRECISION, MIN_NAMES_RECALL, say
from tests.bench.names.made import collected, held_out_lines
from tests.bench.names.training import learnt, train
from tidemill_core.application import Caller
from tidemill_ingest.documents.names import ProcessNames
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.names import NameFinder
from tidemill_ingest.masking.spans import replaced
from tidemill_ingest.masking.stage import MaskingStage
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS

sys.path.append(str(Path(__file__).parents[3] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

SECONDS, ROUNDS, SEED = 600.0, 4, 23
PAGE_LINES, PAGES = 50, 10
SENT_EACH = 40
"""Every so manieth line goes through processes, too."""
_CALLER = Caller(project="bench", subject="bench")
_KINDS = ("person", "place", "organisation")


def main() -> int:
    """Make a model where it is asked for, and print what it finds and costs."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the model, which is written unless --measure is given")
    parser.add_argument("--measure", action="store_true", help="measure a folder that is there")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long it learns ({SECONDS:g})")
    given = parser.parse_args()
    if not given.measure:
        refuse_filled(parser, given.folder)
    names = collected()
    if not given.measure:
        torch.set_num_threads(1)
        lines = learnt(names, paragraphs(), random=Random(SEED))  # noqa: S311 - the same texts each time
        say(f"{train(MODELS / EMBEDDINGS, given.folder, lines, seconds=given.seconds)}\n")
    made = list(held_out_lines(names, rounds=ROUNDS, seed=SEED))
    written = list(_names.lines(rounds=ROUNDS, seed=SEED))
    finder = NameFinder(given.folder)
    say("## Other templates, other names\n")
    shown(finder, made)
    say("\n## Hand-written\n")
    recall, precision = shown(finder, written)
    different = asyncio.run(through_processes(given.folder, finder, [*made, *written][::SENT_EACH]))
    say(f"\nThrough ingest's processes {different} lines come out otherwise.")
    cost(finder, [line.text for line in made])
    return int(recall < MIN_NAMES_RECALL or precision < MIN_NAMES_PRECISION or different > 0)


def paragraphs() -> Sequence[str]:
    """Return short paragraphs of Python's library, which name nothing that is masked."""
    every = (part for document in corpus.documents() for part in document.text.split("\n\n"))
    return [part for part in every if 20 < len(part) < 160]


def shown(finder: NameFinder, lines: Sequence[Line]) -> tuple[float, float]:
    """Print recall and precision by language and kind, and return the least of any kind over all languages."""
    every, by_language = Counts(), dict[str, Counts]()
    for line, found in zip(lines, _found(finder, lines), strict=True):
        for counts in (every, by_language.setdefault(line.language, Counts())):
            counts.add(line, found)
    say(f"{every.texts} lines; bars: recall {MIN_NAMES_RECALL}, precision {MIN_NAMES_PRECISION}\n")
    say("| Language | " + " | ".join(f"{kind}: labelled, recall, precision" for kind in _KINDS) + " |")
    say("|---" * (len(_KINDS) + 1) + "|")
    for language, counts in (*by_language.items(), ("all", every)):
        say(f"| {language} | " + " | ".join(_cell(counts, kind) for kind in _KINDS) + " |")
    for example in every.examples[:: max(1, len(every.examples) // 20)]:
        say(f"  {example}")
    return min(map(every.recall, _KINDS)), min(map(every.precision, _KINDS))


def _found(finder: NameFinder, lines: Sequence[Line]) -> Iterator[set[tuple[int, int, str]]]:
    for line in lines:
        (found,) = finder.found([line.text])
        yield {(start, stop, kind.value) for (start, stop), kind in found}


def _cell(counts: Counts, kind: str) -> str:
    if not counts.labelled[kind]:
        return "-"
    return f"{counts.labelled[kind]}, {counts.recall(kind):.2f}, {counts.precision(kind):.2f}"


async def through_processes(folder: Path, finder: NameFinder, lines: Sequence[Line]) -> int:
    """Return how many lines a source that names the model masks otherwise than the spans say."""
    masking = Masking.of([], none=False, model="names@1")
    names = ProcessNames(Models(folder), workers=1, cpu_s=300, wall_s=600, memory_bytes=8 * 1024**3)
    different = 0
    try:
        for line in lines:
            text = MaskingStage(masking).mask(line.text)
            done = await names.mask(_CALLER, prepared(text), masking)
            (found,) = finder.found([text])
            different += done.text != replaced(text, [(span, kind.placeholder) for span, kind in found])
    finally:
        await names.stop()
    return different


def cost(finder: NameFinder, texts: Sequence[str]) -> None:
    """Print the processor time of a page, in turns: the kinds that have a structure, and names."""
    stage, without_s, names_s = MaskingStage(Masking()), list[float](), list[float]()
    for start in range(0, PAGES * PAGE_LINES, PAGE_LINES):
        page = "\n".join(texts[start : start + PAGE_LINES])
        begun = process_time()
        stage.mask(page)
        between = process_time()
        finder.found([page])
        names_s.append(process_time() - between)
        without_s.append(between - begun)
    without, names = median(without_s), median(names_s)
    say(
        f"\nA page of {PAGE_LINES} lines takes {1000 * without:.1f} ms of processor time without names and"
        f" {1000 * names:.0f} more with them, {(without + names) / without:.0f} times as much (median of {PAGES})."
    )


if __name__ == "__main__":
    sys.exit(main())
