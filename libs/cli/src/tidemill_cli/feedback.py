"""feedback: rate, correct, comment, prefer, give, list, withdraw and erase."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from tidemill.feedback.v1.curation_service_pb2 import ListRefusedExamplesRequest
from tidemill.feedback.v1.feedback_metric_pb2 import FEEDBACK_METRIC_LEVEL_CONVERSATION
from tidemill.feedback.v1.feedback_pb2 import Feedback, FeedbackState
from tidemill.feedback.v1.feedback_service_pb2 import ListFeedbackRequest
from tidemill_cli.metrics import value_of
from tidemill_cli.options import Commands
from tidemill_cli.output import call, moment, plain, show, word
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.declared import FeedbackMetrics
from tidemill_client.pages import filter_of
from tidemill_client.reactions import Rater, Reactions

feedback = Commands(help="Rate, correct and comment on answers.")

InferenceArgument = Annotated[str, typer.Argument(help="The inference's id (see `tidemill inferences list`).")]
UserOption = Annotated[
    str, typer.Option("--end-user", help="The rating user's pseudonym; default: that of the inference.")
]
RaterOption = Annotated[str, typer.Option(help="user, reviewer or judge.")]


@feedback.command("rate")
def rate(
    inference: InferenceArgument,
    rating: Annotated[float, typer.Argument(help="0 (bad) to 1 (good).")],
    *,
    end_user: UserOption = "",
    rater: RaterOption = "",
) -> None:
    """Rate an answer. A later rating replaces the earlier one."""
    _report(lambda r: r.rate(inference, rating, Rater(end_user=end_user, rater=rater)))


@feedback.command("correct")
def correct(
    inference: InferenceArgument,
    text: Annotated[str, typer.Argument(help="The correct answer.")],
    *,
    end_user: UserOption = "",
    rater: RaterOption = "",
) -> None:
    """Submit the correct answer. Corrections become training examples."""
    _report(lambda r: r.correct(inference, text, Rater(end_user=end_user, rater=rater)))


@feedback.command("comment")
def comment(
    inference: InferenceArgument,
    text: Annotated[str, typer.Argument(help="The comment.")],
    *,
    end_user: UserOption = "",
    rater: RaterOption = "",
) -> None:
    """Comment on an answer."""
    _report(lambda r: r.comment(inference, text, Rater(end_user=end_user, rater=rater)))


@feedback.command("prefer")
def prefer(
    chosen: Annotated[str, typer.Argument(help="The inference whose answer is better.")],
    rejected: Annotated[str, typer.Argument(help="The inference whose answer it is preferred to.")],
    *,
    tie: Annotated[bool, typer.Option("--tie", help="Neither is better.")] = False,
    end_user: UserOption = "",
    rater: RaterOption = "",
) -> None:
    """Prefer one answer to another one to the same question. Choices become preferences to learn from."""
    _report(lambda r: r.prefer(chosen, rejected, Rater(end_user=end_user, rater=rater), tie=tie))


@feedback.command("give")
def give(
    target: Annotated[str, typer.Argument(help="The inference's id; of a metric of conversations the conversation's.")],
    metric: Annotated[str, typer.Argument(help="The metric (see `tidemill metrics list`).")],
    value: Annotated[str, typer.Argument(help="true or false, a number, or one of the metric's choices.")],
    *,
    end_user: UserOption = "",
    rater: RaterOption = "",
) -> None:
    """Give the value of a metric that the project declares. A later value replaces the earlier one."""

    async def work(connection: Connection) -> Feedback:
        declared, client = await FeedbackMetrics(connection).get(metric), Reactions(connection)
        give = client.give_conversation if declared.level == FEEDBACK_METRIC_LEVEL_CONVERSATION else client.give
        return await give(target, metric, value_of(declared.kind, value), Rater(end_user=end_user, rater=rater))

    _show(call(work))


@feedback.command("withdraw")
def withdraw(
    name: Annotated[str, typer.Argument(metavar="FEEDBACK", help="The feedback's id (see `tidemill feedback list`).")],
) -> None:
    """Withdraw a rating, comment, correction or choice: later training data excludes it."""
    _report(lambda r: r.withdraw(name))


def _report(give: Callable[[Reactions], Awaitable[Feedback]]) -> None:
    _show(call(lambda c: give(Reactions(c))))


def _show(given: Feedback) -> None:
    why = f": {given.message}" if given.message else ""
    sentence = f"{given.metric} {given.id} is {word(FeedbackState, given.state)}{why}"
    show(plain(given), sentence)


@lists(
    feedback,
    "list",
    lambda c: c.feedback.ListFeedback,
    ("feedback", "metric", "value", "inference", "by", "state", "times", "message"),
    lambda f: (
        f.id,
        f.metric,
        _value(f),
        f.inference or f.inference_request_id or f"conversation {f.conversation}",
        "(no value)" if f.absent else f.end_user or "-",
        word(FeedbackState, f.state) + ("" if f.counts else ", does not count"),
        f.times,
        f.message,
    ),
)
def list_feedback(
    *,
    inference: Annotated[str, typer.Option("--inference", "-i", help="Only for this answer.")] = "",
    conversation: Annotated[str, typer.Option("--conversation", help="Only for this conversation as a whole.")] = "",
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="Only for answers of this deployment.")] = "",
) -> ListFeedbackRequest:
    """List feedback, oldest first."""
    return ListFeedbackRequest(inference=inference, conversation=conversation, deployment=deployment)


@lists(
    feedback,
    "refused",
    lambda c: c.curations.ListRefusedExamples,
    ("feedback", "reason", "inference", "by", "observed"),
    lambda e: (e.feedback, e.reason, e.inference, e.end_user or "-", moment(e.observe_time)),
    order="observe_time",
)
def list_refused(
    curation: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset that the corrections are for.")],
    *,
    reason: Annotated[str, typer.Option(help="Only for this reason, for example CONTRADICTED.")] = "",
) -> ListRefusedExamplesRequest:
    """List the corrections that do not become examples of a dataset, with the reason of each."""
    return ListRefusedExamplesRequest(curation=curation, filter=filter_of(reason=reason))


@feedback.command("erase")
def erase(
    end_user: Annotated[str, typer.Argument(help="The user's pseudonym.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; erase nothing.")] = False,
) -> None:
    """Erase a user's feedback and questions, and feedback on them. Batches completed later exclude them."""
    erased = call(lambda c: Reactions(c).erase(end_user, validate_only=dry_run))
    what = f"{erased.erased} feedback entries by and about {end_user}, and {erased.inferences} inference records"
    said = f"{what} {'would be' if dry_run else 'were'} erased"
    facts = {"end_user": end_user, "erased": erased.erased, "inferences": erased.inferences, "dry_run": dry_run}
    show(facts, said)


def _value(given: Feedback) -> str:
    if given.HasField("flag"):
        return str(given.flag).lower()
    if given.HasField("category"):
        return given.category
    if given.HasField("number"):
        return f"{given.number:g}"
    if given.HasField("correction"):
        return "".join(part.text for message in given.correction.output for part in message.parts)
    if given.HasField("preference"):
        choice = given.preference
        return f"{'as good as' if choice.tie else 'better than'} {choice.rejected}"
    return given.comment
