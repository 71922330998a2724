"""Makes a cross-encoder and measures whether it refuses: `python -m tests.bench.reranker FOLDER`.

The packaged encoder (all-MiniLM-L6-v2) learns from Python's library which passage answers a question (`training`). What
it writes is a folder as `tidemill models import reranker FOLDER` takes it. Measured are the harbour's questions of
`tests.bench.retrieval`, another domain, through rag's own search and reranker: what is found, nDCG@10, and how many of
the unanswerable questions find nothing where at most 5 % of the others do. `--measure` makes nothing and measures a
folder that is there, made here or elsewhere. Prints a JSON line for each way.
"""

import asyncio
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch

from tests.bench._folders import refuse_filled
from tests.bench.reranker.training import NAME, opened, train
from tests.bench.retrieval import Built, harbour, indexed, measured, opened_model, print_line, python_library
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.collections.domain.search_settings import Rerank, SearchSettings

SECONDS = 600.0
WAYS = {
    "default": SearchSettings(),
    **{f"reranks {count}": SearchSettings(rerank=Rerank(model=NAME, candidates=count)) for count in (10, 20)},
}


def main() -> int:
    """Make a model where it is asked for, and print what it does."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the model, which is written unless --measure is given")
    parser.add_argument("--measure", action="store_true", help="measure a folder that is there")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long it learns ({SECONDS:g})")
    given = parser.parse_args()
    if not given.measure:
        refuse_filled(parser, given.folder)
        torch.set_num_threads(1)
        documents = [(each.key, each.title, each.text) for each in python_library()[0]]
        learnt, separates = train(MODELS / EMBEDDINGS, given.folder, documents, seconds=given.seconds)
        print_line(learnt=str(learnt), separates=round(separates, 3))
    asyncio.run(compare(given.folder))
    return 0


async def compare(folder: Path) -> None:
    """Print what is found and refused without the reranker and with it."""
    documents, questions = harbour()
    rerankers: Any = opened(folder)
    async with indexed(await opened_model(), documents, Built("default", WAYS), rerankers=rerankers) as rag:
        for way, settings in WAYS.items():
            begun = time.process_time()
            found = await measured(rag, settings, questions)
            took_s = (time.process_time() - begun) / len(questions)
            print_line(way=way, processor_ms_a_question=round(1000 * took_s, 1), **found)


if __name__ == "__main__":
    sys.exit(main())
