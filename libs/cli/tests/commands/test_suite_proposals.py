"""Cases are proposed from live answers, a model or a file, and an operator accepts or refuses them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from libs.cli.tests.commands.conftest import Said, Terminal
from libs.cli.tests.commands.retrieval_answers import RetrievalAnswers, collection
from libs.cli.tests.loop.running import Running
from tidemill.content.v1.content_pb2 import Message, Part
from tidemill.evaluator.v1 import suite_proposal_pb2 as pb
from tidemill.evaluator.v1 import suite_proposal_service_pb2 as rpc
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill.inference.v1.deployment_pb2 import RECORD_MODE_METADATA
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateResponse
from tidemill_cli import suite_proposals


class Proposals:
    """What evaluator and inference answer."""

    def __init__(self, running: Running) -> None:
        self.made: list[rpc.CreateSuiteProposalRequest] = []
        self.decided: list[Any] = []
        self.asked: list[GenerateRequest] = []
        self.says = ['{"question": "Who keeps page %s?", "answer": "a long enough text"}']
        """What deployments write, in turn."""
        service = "evaluator.v1.suite_proposal_service"
        running.answers |= {
            f"{service}:CreateSuiteProposal": self._create,
            f"{service}:GetSuiteProposal": lambda _: rpc.GetSuiteProposalResponse(proposal=self.proposal()),
            f"{service}:ListSuiteProposals": self._list,
            f"{service}:AcceptSuiteProposal": self._accept,
            f"{service}:RefuseSuiteProposal": self._refuse,
            f"{service}:DeleteSuiteProposal": self._delete,
            "inference.v1.inference_service:Generate": self._write,
        }

    def proposal(self, **fields: Any) -> pb.SuiteProposal:  # noqa: ANN401 - of the message
        known: dict[str, Any] = {
            "id": "p1",
            "suite": "truth",
            "state": pb.SUITE_PROPOSAL_STATE_PROPOSED,
            "case_count": 1,
            "refused_counts": {"NEAR_DUPLICATE": 1},
            "live": pb.LiveAnswers(deployment="helpdesk", corrections=True),
            "coverage": pb.Coverage(label="topic", at_least=5),
            "slices": [pb.SliceCoverage(value="vpn", existing=3, proposed=1)],
            "candidates": [
                pb.ProposedCase(case=Case(id="i1", question="How?", reference="So"), reference_from="correction"),
                pb.ProposedCase(
                    case=Case(id="i2", question="Why?"),
                    flaw=pb.CANDIDATE_FLAW_NEAR_DUPLICATE,
                    why="case c1 is near",
                ),
            ],
        }
        return pb.SuiteProposal(**(known | fields))

    def _create(self, request: rpc.CreateSuiteProposalRequest) -> rpc.CreateSuiteProposalResponse:
        self.made.append(request)
        return rpc.CreateSuiteProposalResponse(proposal=self.proposal())

    def _list(self, request: rpc.ListSuiteProposalsRequest) -> rpc.ListSuiteProposalsResponse:
        assert request.filter == 'suite = "truth"'
        listed = [self.proposal(candidates=[]), self.proposal(id="p2", live=None, generated_by="writer", candidates=[])]
        return rpc.ListSuiteProposalsResponse(proposals=listed)

    def _accept(self, request: rpc.AcceptSuiteProposalRequest) -> rpc.AcceptSuiteProposalResponse:
        self.decided.append(request)
        accepted = self.proposal(accepted_version=4, accepted_case_count=7)
        return rpc.AcceptSuiteProposalResponse(proposal=accepted)

    def _refuse(self, request: rpc.RefuseSuiteProposalRequest) -> rpc.RefuseSuiteProposalResponse:
        self.decided.append(request)
        return rpc.RefuseSuiteProposalResponse(proposal=self.proposal(state=pb.SUITE_PROPOSAL_STATE_REFUSED))

    def _delete(self, request: rpc.DeleteSuiteProposalRequest) -> rpc.DeleteSuiteProposalResponse:
        self.decided.append(request)
        return rpc.DeleteSuiteProposalResponse(proposal=self.proposal())

    def _write(self, request: GenerateRequest) -> GenerateResponse:
        self.asked.append(request)
        asked = request.messages[0].parts[0].text
        if request.deployment == "reader":
            text = "It is a long text." if "Question: Who keeps" in asked else "NONE"
        else:
            self.says = [*self.says[1:], self.says[0]]
            text = self.says[-1].replace("%s", str(len(self.asked)))
        return GenerateResponse(inference=Inference(output=[Message(parts=[Part(text=text)])]))


@pytest.fixture
def proposals(running: Running, searches: RetrievalAnswers) -> Proposals:
    running.answers |= searches.answers()
    running.keepers["collection"].stored["handbook"] = collection()
    return Proposals(running)


async def typed(terminal: Terminal, command: str) -> Said:
    return await asyncio.to_thread(terminal, *command.split())


async def test_live_answers_are_proposed_and_shown_with_why_others_are_refused(
    terminal: Terminal, proposals: Proposals
) -> None:
    corrected = await typed(terminal, "suites propose truth -d helpdesk --cover topic=5")
    reviewed = await typed(terminal, "suites propose truth -d helpdesk -q answers --right ok --text better -n 9 --json")

    assert (corrected.code, reviewed.code) == (0, 0), corrected.text
    for said in ("vpn 3+1", "live answers of helpdesk", "near duplicate: case c1 is near", "correction"):
        assert said in corrected.text
    assert reviewed.data["refused_counts"] == {"NEAR_DUPLICATE": 1}
    first, second = (each.proposal for each in proposals.made)
    assert (first.live.corrections, first.live.queue, first.coverage.at_least) == (True, "", 5)
    live = second.live
    assert (live.corrections, live.queue, live.right_field, live.text_field, live.max_cases) == (
        False,
        "answers",
        "ok",
        "better",
        9,
    )


async def test_cases_are_generated_from_passages_and_another_deployment_has_to_agree(
    terminal: Terminal, proposals: Proposals
) -> None:
    proposals.says = [
        'Sure: {"question": "Who wrote page %s?", "answer": "ada"}',
        "no json",
        '{"question": "Who keeps page %s?", "answer": "a long text"}',
    ]

    said = await typed(terminal, "suites propose truth --by writer -c handbook --checked-by reader -n 1 --json")

    assert said.code == 0, said.text
    (made,) = proposals.made
    assert (made.proposal.generated_by, made.proposal.HasField("live")) == ("writer", False)
    (good,) = (each for each in made.candidates if not each.flaw)
    assert {each.flaw for each in made.candidates if "wrote" in each.case.question} == {pb.CANDIDATE_FLAW_UNSUPPORTED}
    assert good.case.reference == "a long text"
    assert good.case.judgements[0].document == good.case.rests_on[0].document
    assert "long enough to be asked for" in good.passage
    assert {each.deployment for each in proposals.asked} == {"writer", "reader"}
    assert {each.record_mode for each in proposals.asked} == {RECORD_MODE_METADATA}


async def test_other_ways_to_ask_a_suites_cases_keep_the_reference_and_numbers_and_leave_people_out(
    terminal: Terminal, running: Running, proposals: Proposals
) -> None:
    cases = [
        Case(id="c1", question="What is 5 plus 5?", reference="10", labels={"topic": "sums"}),
        Case(id="c2", question="What is the capital?", reference="Oslo", labels={"topic": "maps"}),
        Case(id="c3", question="Where do I live?", reference="Here", end_user="ada"),
        Case(id="c4", question="Sum of 5 and 5?", reference="10", labels={"tidemill.dev/variant_of": "c1"}),
    ]
    running.keepers["suite"].stored["truth"] = Suite(id="truth", cases=cases, version=1)
    proposals.says = ["Which city is the capital number %s?"]

    said = await typed(terminal, "suites propose truth --by writer --variants --json")

    assert said.code == 0, said.text
    candidates = {each.case.labels["tidemill.dev/variant_of"]: each for each in proposals.made[0].candidates}
    assert candidates.keys() == {"c1", "c2"}
    assert {each.flaw for each in candidates.values()} == {pb.CANDIDATE_FLAW_FORM}, "they name another number"
    assert (candidates["c2"].case.reference, candidates["c2"].case.labels["topic"]) == ("Oslo", "maps")
    assert all("live" not in each.messages[0].parts[0].text for each in proposals.asked)


async def test_a_deployment_that_writes_no_case_is_named(terminal: Terminal, proposals: Proposals) -> None:
    proposals.says = ["I do not know."]

    said = await typed(terminal, "suites propose truth --by writer -c handbook -n 1")

    assert (said.code, proposals.made) == (1, [])
    assert "not a question with its answer: 30" in " ".join(said.text.split())


async def test_cases_of_a_file_are_proposed_and_a_broken_line_is_named(
    terminal: Terminal, proposals: Proposals, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps({"id": "n1", "question": "How?", "reference": "So", "labels": {"topic": "vpn"}}))
    bad.write_text('{"id": "n1"}')

    taken, refused = [await typed(terminal, f"suites propose truth --file {each}") for each in (good, bad)]

    assert (taken.code, refused.code) == (0, 1)
    (candidate,) = proposals.made[0].candidates
    assert (candidate.case.id, candidate.case.labels["topic"]) == ("n1", "vpn")
    assert "bad.jsonl:1" in refused.text.replace("\n", "")


@pytest.mark.parametrize(
    "options",
    ["", "-d helpdesk --by writer", "--by writer", "--by w -c a --variants", "-d helpdesk --cover topic"],
)
async def test_it_is_said_where_cases_come_from(terminal: Terminal, proposals: Proposals, options: str) -> None:
    said = await typed(terminal, f"suites propose truth {options}")

    assert (said.code, proposals.made) == (2, [])


async def test_proposals_are_listed_shown_accepted_and_refused(terminal: Terminal, proposals: Proposals) -> None:
    listed = await typed(terminal, "suites proposals --suite truth")
    shown = await typed(terminal, "suites proposal p1 --json")
    accepted = await typed(terminal, "suites accept p1 --without i2 --note good")
    refused = await typed(terminal, "suites refuse p1 --note bad")

    assert [each.code for each in (listed, shown, accepted, refused)] == [0] * 4
    assert "generated by writer" in listed.text
    assert [each["flaw"] for each in shown.data["candidates"]] == [
        "CANDIDATE_FLAW_UNSPECIFIED",
        "CANDIDATE_FLAW_NEAR_DUPLICATE",
    ]
    assert "truth@4" in accepted.text
    assert "refused" in refused.text
    assert [(each.id, each.note) for each in proposals.decided] == [("p1", "good"), ("p1", "bad")]
    assert list(proposals.decided[0].left_out) == ["i2"]


async def test_a_proposal_is_deleted(terminal: Terminal, proposals: Proposals) -> None:
    said = await typed(terminal, "suites delete-proposal p1")

    assert (said.code, [each.id for each in proposals.decided]) == (0, ["p1"])


async def test_no_more_candidates_are_sent_than_a_proposal_may_have_and_those_without_a_flaw_first(
    terminal: Terminal, proposals: Proposals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite_proposals, "MOST", 2)
    wrong = '{"question": "Who wrote page %s?", "answer": "ada"}'
    proposals.says = [wrong, wrong, wrong, '{"question": "Who keeps page %s?", "answer": "a long text"}']

    said = await typed(terminal, "suites propose truth --by writer -c handbook --checked-by reader -n 1")

    assert said.code == 0, said.text
    assert [bool(each.flaw) for each in proposals.made[0].candidates] == [False, True]
