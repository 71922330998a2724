"""suites propose, proposals, proposal, accept and refuse: suites grow by cases that an operator accepts."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from tidemill.evaluator.v1.suite_proposal_pb2 import (
    CandidateFlaw,
    Coverage,
    LiveAnswers,
    ProposedCase,
    SuiteProposal,
    SuiteProposalState,
)
from tidemill.evaluator.v1.suite_proposal_service_pb2 import ListSuiteProposalsRequest
from tidemill_cli.loop.suite_file import SuiteFile
from tidemill_cli.loop.turning import case_message
from tidemill_cli.output import call, card, plain, progress, show, table, word
from tidemill_cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.case_generation import CaseGeneration, GeneratedCases
from tidemill_client.connection import Connection
from tidemill_client.declared import Suites
from tidemill_client.pages import filter_of
from tidemill_client.suite_proposals import SuiteProposals
from tidemill_core.errors import InvalidInput, PreconditionFailed

SHOWN = 20
MOST = 200
"""Candidates of a proposal, as evaluator takes them where its operator has set nothing else."""
_ProposalArgument = Annotated[str, typer.Argument(help="The proposal, as `suites proposals` lists it.")]
_NoteOption = Annotated[str, typer.Option("--note", help="Why.")]


def propose_cases(
    suite: Annotated[str, typer.Argument(help="The suite; accepting the first proposal creates it.")],
    *,
    deployment: Annotated[
        str,
        typer.Option("--deployment", "-d", help="Live answers of it that were corrected, or reviewed."),
    ] = "",
    queue: Annotated[
        str, typer.Option("--queue", "-q", help="Those that it has resolved, in place of corrections.")
    ] = "",
    right: Annotated[str, typer.Option("--right", help="Its boolean: where true, the answer is the reference.")] = "",
    text: Annotated[str, typer.Option("--text", help="Its text: where given, it is the reference.")] = "",
    by: Annotated[str, typer.Option("--by", help="The deployment that generates cases.")] = "",
    collection: Annotated[str, typer.Option("--collection", "-c", help="With --by: of passages of this.")] = "",
    variants: Annotated[bool, typer.Option("--variants", help="With --by: other ways to ask its cases.")] = False,
    checked_by: Annotated[
        str, typer.Option("--checked-by", help="With -c: a deployment that has to agree with each reference.")
    ] = "",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Cases of a file, as of loop.yaml.")] = None,
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, max=MOST, help="At most so many.")] = 50,
    cover: Annotated[
        str, typer.Option("--cover", help="LABEL=N: only for slices of this label with fewer than N cases.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="With -c: decides which documents are asked for.")] = 0,
) -> None:
    """Propose cases for a suite: corrected or reviewed live answers, generated cases, or those of a file.

    What breaks a rule, repeats or contradicts a case, or is not in its passage is refused with the reason.
    """
    if [bool(deployment), bool(by), file is not None].count(True) != 1:
        message = "name one of --deployment (live answers), --by (generated cases) and --file"
        raise typer.BadParameter(message)
    if by and bool(collection) == variants:
        message = "needs --collection or --variants: what cases are generated from"
        raise typer.BadParameter(message, param_hint="--by")
    coverage = _coverage(cover)
    proposal = SuiteProposal(suite=suite, generated_by=by, coverage=coverage)
    if deployment:
        live = LiveAnswers(deployment=deployment, queue=queue, right_field=right, text_field=text, max_cases=cases)
        live.corrections = not queue
        proposal.live.CopyFrom(live)

    async def work(connection: Connection) -> SuiteProposal:
        candidates = list[ProposedCase]()
        if file is not None:
            candidates = _of_file(file)
        elif by:
            generation = CaseGeneration(connection=connection, deployment=by, checked_by=checked_by)
            generated = await _generate(
                connection, generation, suite, collection, cases, label=coverage.label if coverage else "", seed=seed
            )
            candidates = generated.at_most(MOST)
        return await SuiteProposals(connection).propose(proposal, candidates)

    proposed = call(work)
    show(plain(proposed), _picture(proposed))


def list_proposals(
    *,
    suite: Annotated[str, typer.Option("--suite", "-s", help="Only those for this suite.")] = "",
    size: SizeOption = 50,
    token: TokenOption = "",
    newest: Annotated[bool, typer.Option("--newest", help="Newest first.")] = False,
) -> None:
    """List the proposals of cases."""
    request = ListSuiteProposalsRequest(filter=filter_of(suite=suite), page_size=size, page_token=token)
    request.order_by = "create_time desc" if newest else ""
    page = call(lambda connection: connection.suite_proposals.ListSuiteProposals(request))
    columns = ("proposal", "suite", "state", "from", "cases", "refused", "proposed by", "decided by", "version")
    rows = [
        (
            each.id,
            each.suite,
            word(SuiteProposalState, each.state),
            _source(each),
            each.case_count,
            sum(each.refused_counts.values()),
            each.proposed_by,
            each.decided_by,
            each.accepted_version or "",
        )
        for each in page.proposals
    ]
    show_page("proposals", page.proposals, page.next_page_token, table(columns, rows))


def show_proposal(proposal: _ProposalArgument) -> None:
    """Show a proposal with its candidates, and why some are refused; a table has the first 20."""
    found = call(lambda connection: SuiteProposals(connection).get(proposal))
    show(plain(found), _picture(found))


def accept_proposal(
    proposal: _ProposalArgument,
    *,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A proposed case that is left out; may be repeated.")
    ] = None,
    note: _NoteOption = "",
) -> None:
    """Accept a proposal: its cases make the suite's next version."""
    accepted = call(lambda connection: SuiteProposals(connection).accept(proposal, left_out=without or (), note=note))
    facts = {
        "suite": f"{accepted.suite}@{accepted.accepted_version}",
        "new cases": accepted.accepted_case_count,
    }
    show(plain(accepted), card(facts))


def refuse_proposal(proposal: _ProposalArgument, *, note: _NoteOption = "") -> None:
    """Refuse a proposal: the suite takes none of its cases."""
    refused = call(lambda connection: SuiteProposals(connection).refuse(proposal, note=note))
    show(plain(refused), card({"proposal": refused.id, "state": word(SuiteProposalState, refused.state)}))


def delete_proposal(proposal: _ProposalArgument) -> None:
    """Delete a proposal, also one whose request was interrupted; cases that a suite took from it stay there."""
    deleted = call(lambda connection: SuiteProposals(connection).delete(proposal))
    show(plain(deleted), card({"deleted": deleted.id}))


async def _generate(
    connection: Connection,
    generation: CaseGeneration,
    suite: str,
    collection: str,
    count: int,
    *,
    label: str,
    seed: int,
) -> GeneratedCases:
    with progress() as bar:
        task = bar.add_task("cases", total=count)

        def watch(found: GeneratedCases) -> None:
            bar.update(task, completed=found.usable)

        if collection:
            generated = await generation.of_documents(collection, count, seed=seed, watch=watch)
        else:
            known = await Suites(connection).get(suite)
            generated = await generation.of_cases(known, count, label=label, watch=watch)
    if not generated.candidates:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in generated.dropped.most_common())
        found = reasons or "nothing to ask"
        message = f"{generation.deployment} wrote no case ({found}): use a deployment with a stronger model"
        raise PreconditionFailed(message)
    return generated


def _of_file(file: Path) -> list[ProposedCase]:
    try:
        read = SuiteFile(file)
        problems, cases = read.problems(), read.cases()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file} cannot be read: {error}"
        raise InvalidInput(message) from error
    if problems:
        message = "; ".join(f"{each.file}:{each.line}: {each.path}: {each.message}" for each in problems[:SHOWN])
        raise InvalidInput(message)
    return [ProposedCase(case=case_message(case)) for case in cases]


def _coverage(cover: str) -> Coverage | None:
    if not cover:
        return None
    label, equals, number = cover.rpartition("=")
    if not (label and equals and number.isdigit()):
        message = f"{cover!r} is not LABEL=N, such as topic=10"
        raise typer.BadParameter(message, param_hint="--cover")
    return Coverage(label=label, at_least=int(number))


def _source(proposal: SuiteProposal) -> str:
    if proposal.HasField("live"):
        return f"live answers of {proposal.live.deployment}"
    return f"generated by {proposal.generated_by}" if proposal.generated_by else "given"


def _picture(proposal: SuiteProposal) -> RenderableType:
    counts = {f"refused: {name.lower().replace('_', ' ')}": count for name, count in proposal.refused_counts.items()}
    facts = {
        "proposal": proposal.id,
        "suite": proposal.suite,
        "state": word(SuiteProposalState, proposal.state),
        "from": _source(proposal),
        "proposed cases": proposal.case_count,
        **counts,
    }
    if proposal.decided_by or proposal.note:
        facts |= {"decided by": proposal.decided_by, "note": proposal.note}
    if proposal.slices:
        known = (f"{each.value or '(none)'} {each.existing}+{each.proposed}" for each in proposal.slices)
        facts[f"by {proposal.coverage.label}"] = ", ".join(known)
    rows = [
        (
            each.case.id,
            " ".join(each.case.question.split()),
            each.case.reference or "-",
            each.reference_from,
            f"{word(CandidateFlaw, each.flaw)}: {each.why}" if each.flaw else "",
        )
        for each in proposal.candidates[:SHOWN]
    ]
    columns = ("case", "question", "reference", "reference from", "refused")
    return Group(card(facts), table(columns, rows, one_line=True)) if rows else card(facts)
