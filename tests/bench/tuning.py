"""What tuning by judged questions gains on questions that it did not see.

Run `python -m tests.bench.tuning` in the repository; no server is needed. Sets, index and model are those of
`tests.bench.retrieval`. Of each set 40 % of the questions are held out, as by `tidemill collections tune`; the others
are what trials see. Prints a JSON line for each set: the settings before and after, what each finds of the held-out
questions with the interval of evaluator, and the trials, searches and seconds that it took.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict

from services.rag.tests.fakes import Rag
from tests.bench.retrieval import Asked, Built, Embedded, harbour, indexed, opened_model, python_library
from tidemill.rag.v1.collection_pb2 import INDEX_STATE_LIVE, Collection, IndexVersion
from tidemill.rag.v1.collection_pb2 import SearchSettings as SettingsMessage
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest, SearchResponse
from tidemill_cli.tuning import PASSAGES_PER_DOCUMENT, TuneOptions, tune
from tidemill_client.judged_questions import JudgedQuestion, lowest
from tidemill_core.rankings import METRICS, ranking_scores
from tidemill_evaluator.retrieval_evaluations.compute_figures import ComputeFigures
from tidemill_evaluator.retrieval_evaluations.domain.results import RankedDocuments, RetrievalResult
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_kit.mapping import from_message, to_message
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.search.messages import passage_message


@dataclass
class Searched:
    """A connection whose searches are those of a rag in this process."""

    rag: Rag
    searches: int = 0

    @property
    def retrieval(self) -> "Searched":
        """Return the only service that it has."""
        return self

    async def Search(self, request: SearchRequest) -> SearchResponse:  # noqa: N802 - the contract's name
        """Search collection handbook."""
        self.searches += 1
        settings = from_message(SearchSettings, request.settings)
        answer = await self.rag.search(request.query, top_k=request.top_k, settings=settings)
        return SearchResponse(passages=[passage_message(rank, each) for rank, each in enumerate(answer.passages, 1)])


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", choices=["harbour", "python"], help="only this one")
    parser.add_argument("--trials", type=int, default=TuneOptions().trials)
    given = parser.parse_args()
    embedded, options = await opened_model(), TuneOptions(trials=given.trials)
    if given.set != "python":
        await measure("harbour", embedded, *harbour(), options=options)
    if given.set != "harbour":
        await measure("python", embedded, *python_library(), options=options)


async def measure(
    name: str, embedded: Embedded, documents: Sequence[Any], asked: Sequence[Asked], *, options: TuneOptions
) -> None:
    """Tune on a set, and print what held-out questions say."""
    questions = [
        JudgedQuestion(id=f"q{number}", text=each.text, grades=dict.fromkeys(each.needed, 1))
        for number, each in enumerate(asked)
        if each.needed
    ]
    held_out = lowest(questions, round(len(questions) * options.held_out))
    seen = [each for each in questions if each not in held_out]
    index = IndexVersion(number=1, state=INDEX_STATE_LIVE)
    index.sparse.by = "bm25"
    search = to_message(SettingsMessage, SearchSettings())
    collection = Collection(id="handbook", live_index=1, indexes=[index], search=search)
    async with indexed(embedded, documents, Built("default", {})) as rag:
        connection: Any = Searched(rag)
        began = time.monotonic()
        tuning = await tune(connection, collection, seen, options=options)
        took_s, searches = time.monotonic() - began, connection.searches
        results = [
            RetrievalResult(
                case=each.id,
                baseline=await _ranked(connection, each, tuning.current, options),
                candidate=await _ranked(connection, each, tuning.best.settings, options),
            )
            for each in held_out
        ]
    figures = await ComputeFigures(intervals=BettingIntervals())(0.95, results, {each.id: each.id for each in held_out})
    line: dict[str, object] = {
        "set": name,
        "current": tuning.current,
        "best": tuning.best.settings,
        "seen": [len(seen), round(tuning.trials[0].score, 3), round(tuning.best.score, 3)],
        "held_out": len(held_out),
        **{
            each.metric: [round(value, 3) for value in (each.baseline, each.candidate, each.low, each.high)]
            for each in figures.measures
            if each.metric in METRICS
        },
        "trials": len(tuning.trials),
        "pruned": sum(each.pruned for each in tuning.trials),
        "searches": searches,
        "seconds": round(took_s, 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _ranked(
    connection: Searched, question: JudgedQuestion, settings: dict[str, Any], options: TuneOptions
) -> RankedDocuments:
    request = SearchRequest(
        query=question.text,
        top_k=options.depth * PASSAGES_PER_DOCUMENT,
        settings=ParseDict(settings, SettingsMessage()),
    )
    documents = tuple(dict.fromkeys(each.document for each in (await connection.Search(request)).passages))
    return RankedDocuments(documents=documents, scores=ranking_scores(documents, question.grades, depth=options.depth))


if __name__ == "__main__":
    asyncio.run(main())
