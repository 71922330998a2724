"""collections: what they are, what their searches find, and which settings find more."""

import json
from enum import Enum
from typing import Annotated, Any

import typer
from rich.console import Group

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation
from tidemill.rag.v1.collection_pb2 import Collection, GoLive, IndexState
from tidemill.rag.v1.collection_service_pb2 import ListCollectionsRequest
from tidemill_cli.html_pages import html_page
from tidemill_cli.options import Commands
from tidemill_cli.output import EXIT_DIFFERENT, EXIT_ERROR, call, card, moment, plain, show, table, word, writing
from tidemill_cli.pages import lists
from tidemill_cli.profiles import PageOption, SignificanceOption, days_of
from tidemill_cli.retrieval_figures import followed, picture
from tidemill_cli.topic_pages import topic_section
from tidemill_cli.topic_tables import topic_tables
from tidemill_client.connection import Connection
from tidemill_client.declared import Collections
from tidemill_client.retrieval_evaluations import Side, search_settings
from tidemill_client.topics import Topics
from tidemill_core.errors import InvalidInput

collections = Commands(help="Searchable collections, and what their searches find.")

CollectionArgument = Annotated[str, typer.Argument(help="The collection.")]
SuiteOption = Annotated[str, typer.Option("--suite", "-s", help="A suite with judged questions.")]
DepthOption = Annotated[int, typer.Option("--depth", "-k", min=1, max=25, help="So many documents of a ranking count.")]


class Metric(Enum):
    """What a search for settings maximises."""

    NDCG = "ndcg"
    RECALL = "recall"
    MRR = "mrr"
    HIT = "hit"


class ApplyIf(Enum):
    """When the best settings are set."""

    NEVER = "never"
    CERTAIN = "certain"
    """The interval of the difference on held-out questions is above 0."""
    BETTER = "better"
    """The mean difference is."""


@lists(
    collections,
    "list",
    lambda c: c.collections.ListCollections,
    ("collection", "sources", "embedding", "live index", "documents"),
    lambda c: (c.id, ", ".join(c.sources), c.embedding, c.live_index or "-", _documents(c)),
)
def list_collections() -> ListCollectionsRequest:
    """List the project's collections."""
    return ListCollectionsRequest()


@collections.command("show")
def show_collection(name: CollectionArgument) -> None:
    """Show a collection with its settings and index versions."""
    _show(call(lambda c: Collections(c).get(name)))


@collections.command("rebuild")
def rebuild(name: CollectionArgument) -> None:
    """Build a new index version beside the live one, with the newest version of the embedding model."""
    _show(call(lambda c: Collections(c).rebuild(name)))


@collections.command("promote")
def promote(
    name: CollectionArgument,
    *,
    index: Annotated[int, typer.Option("--index", "-i", min=1, help="An index version that is ready.")],
) -> None:
    """Make an index version answer searches; the one before is ready then, and can be promoted back for a while."""
    _show(call(lambda c: Collections(c).promote(name, index)))


@collections.command("evaluate")
def evaluate(
    name: CollectionArgument,
    *,
    suite: SuiteOption,
    settings: Annotated[
        str,
        typer.Option("--settings", help='Compare with these in place of the present ones, as {"sparse_weight": 1.5}.'),
    ] = "",
    index: Annotated[int, typer.Option("--index", min=0, help="Compare with this index version.")] = 0,
    depth: DepthOption = 10,
    max_cases: Annotated[int, typer.Option("--max-cases", min=0, help="A sample of the suite; 0 takes all.")] = 0,
) -> None:
    """Measure what searches find on judged questions, or compare other settings with those that are live."""

    async def work(connection: Connection) -> RetrievalEvaluation:
        changed, candidate = _settings(settings), None
        if index or changed is not None:
            collection = await Collections(connection).get(name)
            candidate = Side(index=index, settings=search_settings(collection, index) | (changed or {}))
        return await followed(connection, name, suite, candidate=candidate, depth=depth, max_cases=max_cases)

    evaluation = call(work)
    show(plain(evaluation), picture(evaluation))
    if evaluation.state != EvaluationState.EVALUATION_STATE_COMPLETED:
        raise typer.Exit(EXIT_ERROR)


@collections.command("tune")
def tune(
    name: CollectionArgument,
    *,
    suite: Annotated[
        str, typer.Option("--suite", "-s", help="A suite with judged questions; default: the only one.")
    ] = "",
    metric: Annotated[Metric, typer.Option("--metric", help="What is to be high.")] = Metric.NDCG,
    depth: DepthOption = 10,
    trials: Annotated[int, typer.Option("--trials", min=2, max=500, help="So many settings are tried.")] = 40,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.1, max=0.9, help="Share of the questions for the final comparison.")
    ] = 0.4,
    seed: Annotated[int, typer.Option("--seed", help="Of the search.")] = 0,
    false_refusals: Annotated[
        float,
        typer.Option("--false-refusals", min=0, max=0.5, help="Share of answerable questions that may find nothing."),
    ] = 0.05,
    apply: Annotated[bool, typer.Option("--apply", help="Set what is shown to be better.")] = False,
    accept_uncertain: Annotated[
        bool, typer.Option("--accept-uncertain", help="With --apply: though the interval has 0 in it.")
    ] = False,
) -> None:
    """Search for settings that find more, and compare the best with the present ones on held-out questions.

    With 10 unanswerable questions in the suite it also finds from which score on the best passage answers, and whether
    requiring identifiers refuses more.
    Exit 2 if --apply was given and nothing was set.
    """
    from tidemill_cli.tuned import TuneCollection  # noqa: PLC0415 - optuna takes seconds to load
    from tidemill_cli.tuning import TuneOptions  # noqa: PLC0415 - ditto

    options = TuneOptions(
        metric=metric.value, depth=depth, trials=trials, seed=seed, held_out=held_out, false_refusals=false_refusals
    )
    apply_if = (ApplyIf.BETTER if accept_uncertain else ApplyIf.CERTAIN) if apply else ApplyIf.NEVER
    report = call(lambda connection: TuneCollection(connection, options)(name, suite, apply_if=apply_if))
    show(report.data, report.picture)
    if apply and not report.applied:
        raise typer.Exit(EXIT_DIFFERENT)


@collections.command("topics")
def topics(
    name: CollectionArgument,
    *,
    source: Annotated[list[str] | None, typer.Option("--source", help="Only documents of this source.")] = None,
    count: Annotated[int, typer.Option("--count", help="How many topics; 0 chooses the number.")] = 0,
    days: Annotated[
        str, typer.Option("--days", help="Count each topic's documents of FIRST..LAST, 2026-11-01..2026-11-30.")
    ] = "",
    compare: Annotated[str, typer.Option("--compare", help="Days to compare these with, FIRST..LAST.")] = "",
    outliers: Annotated[
        float, typer.Option("--outliers", help="From this quantile of distances on a document is an outlier.")
    ] = 0.98,
    significance: SignificanceOption = 0.05,
    html: PageOption = None,
) -> None:
    """Show what the documents that you may read are about, how topics grow, and which documents are far from all.

    Computed anew for each call, of a sample of a large collection; nothing of it is stored.
    """
    chosen, before = (
        days_of(text, option) if text else None for text, option in ((days, "--days"), (compare, "--compare"))
    )
    reply = call(
        lambda c: Topics(c).of(
            name,
            sources=source or (),
            count=count,
            outlier_quantile=outliers,
            days=chosen,
            baseline=before,
            significance=significance,
        )
    )
    periods = [text for text in (days, compare) if text]
    if html is not None:
        with writing(html):
            html.write_text(html_page(f"Topics of {name}", [topic_section(reply, periods)]), encoding="utf-8")
    show(plain(reply), topic_tables(reply, periods))


def _show(collection: Collection) -> None:
    values = plain(collection)
    named = ("id", "sources", "embedding", "chunking", "sparse", "search")
    facts: dict[str, object] = {key: values[key] for key in named if key in values}
    if collection.go_live:
        facts["go live"] = word(GoLive, collection.go_live)
    columns = ("index", "state", "embedding", "documents", "failed", "passages", "kept until", "message")
    rows = [
        (
            each.number,
            word(IndexState, each.state),
            each.embedding,
            f"{each.documents_indexed}/{each.documents_wanted}",
            each.documents_failed,
            f"{each.chunks}, those of {each.passages_of}" if each.passages_of else each.chunks,
            moment(each.expire_time),
            each.message,
        )
        for each in collection.indexes
    ]
    show(values, Group(card(facts), "", table(columns, rows)))


def _documents(collection: Collection) -> str:
    live = next((each for each in collection.indexes if each.number == collection.live_index), None)
    return f"{live.documents_indexed}/{live.documents_wanted}" if live else "-"


def _settings(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput.at(field="settings", text=f"is not JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise InvalidInput.at(field="settings", text='must be a JSON object, such as {"sparse_weight": 1.5}')
    return values
