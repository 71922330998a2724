"""Judges behind a provider that a test scripts: by `make verify`, or with TIDEMILL_JUDGES=1.

A jury, and judges that answer nonsense, never answer, and disagree with people; then a provider that changes its model.
"""

import json
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.system.running import Platform, wait_until
from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, EvaluationState, Gate, Reevaluate, Requirement, Verdict
from tidemill.evaluator.v1.judge_pb2 import Judge, JudgeMeasurementState
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill.evaluator.v1.suite_proposal_pb2 import LiveAnswers, SuiteProposal
from tidemill.feedback.v1 import review_pb2 as reviews
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill_client.connection import Addresses
from tidemill_client.declared import Gates, Suites
from tidemill_client.judges import Judges
from tidemill_client.suite_proposals import SuiteProposals
from tidemill_client.tidemill import Tidemill
from tidemill_core.errors import PreconditionFailed
from tidemill_testkit.stack import unique_name

GOOD, BAD = "It is in the manual.", "No idea."
POINTS = {"fair": (5, 1), "strict": (4, 1), "contrary": (1, 5)}
"""By the judge's model: for a good answer, and for a bad one."""
JUDGES = ("fair", "strict", "contrary", "nonsense", "silent")
REVIEWED, CASES = 30, 8
RUNS = pytest.mark.skipif(os.environ.get("TIDEMILL_JUDGES") != "1", reason="TIDEMILL_JUDGES is not 1")


class Provider:
    """Serves writers and judges by the names of their models; writer-2 answers well until it `changed`."""

    def __init__(self) -> None:
        self.changed = False
        self.ended = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = provider.said(asked["model"], asked["messages"][-1]["content"])
                body = provider.streamed(asked["model"], text)
                with suppress(ConnectionError):  # of a client that has not waited
                    self.send_response(200)
                    self.send_header("content-type", "text/event-stream")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def said(self, model: str, content: str) -> str:
        """Return what a model answers; the silent one when the test ends."""
        if model == "silent":
            self.ended.wait()
        if model in {"nonsense", "silent"}:
            return "I like it very much."
        if model.startswith("writer"):
            right = not self.changed if model == "writer-2" else "even" in content
            return GOOD if right else BAD
        answer = json.JSONDecoder().raw_decode(content)[0]["answer"]
        return json.dumps({"quality": POINTS[model][answer == BAD]})

    def streamed(self, model: str, text: str) -> bytes:
        """Return the events of an answer."""
        fingerprint = "fp_2" if self.changed and model == "writer-2" else "fp_1"
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        chunk["system_fingerprint"] = fingerprint
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": {"content": text}, "finish_reason": None},
            {"index": 0, "delta": {}, "finish_reason": "stop"},
        ]
        events = "".join(f"data: {json.dumps({**chunk, 'choices': [each]})}\n\n" for each in choices)
        return f"{events}data: [DONE]\n\n".encode()


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    try:
        yield made
    finally:
        made.ended.set()
        made.server.shutdown()
        made.server.server_close()


@pytest.fixture
async def tidemill(stack_folder: Path, provider: Provider) -> AsyncIterator[Tidemill]:
    """Give a project whose deployments answer and judge by the provider."""
    platform = Platform(stack_folder, Addresses.find(stack_folder.parent), unique_name("judged"))
    platform.api_keys()
    async with Tidemill(platform.project, platform.addresses) as made:
        await made.prompts.create(Prompt(id="plain", content=PromptContent(user="{{ question }}")))
        await deployed(made, provider, "helpdesk", model="writer", remote="writer-1")
        for name in JUDGES:
            await deployed(made, provider, name, model=name, remote=name)
            await Judges(made.connection).create(Judge(id=name, deployment=name, rubric="Does it help?"))
        await Judges(made.connection).create(Judge(id="jury", members=["fair", "strict", "nonsense"]))
        yield made


async def deployed(tidemill: Tidemill, provider: Provider, name: str, *, model: str, remote: str) -> None:
    await tidemill.models.import_openai(model, remote, base_url=provider.url)
    deployment = Deployment(id=name, model=f"{model}@1", prompt="plain")
    deployment.deadline.FromMilliseconds(1000 if name == "silent" else 20_000)
    await tidemill.deployments.create(deployment)


async def asked(tidemill: Tidemill, question: str) -> Inference:
    message = Message(role=Role.ROLE_USER, parts=[Part(text=question)])
    request = GenerateRequest(deployment="helpdesk", messages=[message])
    return (await tidemill.connection.inferences.Generate(request, timeout=60)).inference


async def reviewed(tidemill: Tidemill) -> None:
    """Have answers reviewed, of which every second one is good, and people say so."""
    field = reviews.LabelField(name="right", kind=reviews.LABEL_KIND_BOOLEAN, required=True)
    await tidemill.reviews.create(reviews.ReviewQueue(id="answers", fields=[field]))
    items = []
    for number in range(REVIEWED):
        answer = await asked(tidemill, f"Where is the {'even' if number % 2 else 'odd'} part {number}?")
        label = reviews.ReviewLabel(field="right", boolean=bool(number % 2))
        subject = reviews.ReviewSubject(kind=reviews.SUBJECT_KIND_INFERENCE, id=answer.id)
        said = reviews.Review(reviewer="ada", labels=[label])
        items.append(reviews.ReviewItem(subject=subject, reviews=[said]))
    await tidemill.reviews.add("answers", items)


async def measured(tidemill: Tidemill, name: str) -> Judge:
    await Judges(tidemill.connection).measure(name, queue="answers", field="right")
    return await Judges(tidemill.connection).measured(name, within_s=240)


def gate_of(*judges: str, **more: Any) -> Gate:  # noqa: ANN401 - fields of a gate
    require = [Requirement(suite="truth", metric=f"judge:{each}", gain_above=0.0) for each in judges]
    return Gate(id=f"by_{judges[0]}", deployment="helpdesk", candidate="writer", require=require, **more)


async def by_hand(tidemill: Tidemill, judge: str) -> Evaluation:
    started = await tidemill.evaluations.compare(
        "helpdesk", ["truth"], candidate="writer@1", metrics=[f"judge:{judge}"]
    )
    return await tidemill.evaluations.wait(started.id, within_s=240)


async def ended(tidemill: Tidemill, *, again: bool) -> Evaluation:
    """Return the evaluation by the gate, or the re-evaluation, once it has ended."""

    async def found() -> Evaluation | None:
        known: Sequence[Evaluation] = [each async for each in tidemill.evaluations.all(gate="by_fair")]
        states = (EvaluationState.EVALUATION_STATE_COMPLETED, EvaluationState.EVALUATION_STATE_FAILED)
        return next((each for each in known if bool(each.reevaluates) is again and each.state in states), None)

    listed = await wait_until(found, "the evaluation")
    return await tidemill.evaluations.get(listed.id)


@RUNS
@pytest.mark.timeout(1800)
async def test_judges_decide_as_far_as_they_agree_with_people(tidemill: Tidemill, provider: Provider) -> None:
    cases = [Case(id=f"c{n}", question=f"Where is the odd thing {n}?", reference=GOOD) for n in range(CASES)]
    await Suites(tidemill.connection).create(Suite(id="truth", cases=cases))
    await reviewed(tidemill)
    judges = {name: await measured(tidemill, name) for name in (*JUDGES[:-1], "jury")}  # the silent one takes minutes

    assert {name: round(judges[name].agreement.value, 2) for name in ("fair", "jury", "contrary")} == {
        "fair": 1.0,
        "jury": 1.0,
        "contrary": -1.0,
    }
    nonsense = judges["nonsense"].measurement
    failed = JudgeMeasurementState.JUDGE_MEASUREMENT_STATE_FAILED
    assert (nonsense.state, nonsense.reason) == (failed, "JUDGE_UNRELIABLE")
    for name, reason in (
        ("contrary", "JUDGE_DISAGREES"),
        ("nonsense", "JUDGE_UNMEASURED"),
        ("silent", "JUDGE_UNMEASURED"),
    ):
        with pytest.raises(PreconditionFailed) as refused:
            await Gates(tidemill.connection).create(gate_of(name))
        assert refused.value.reason == reason
    for name in ("nonsense", "silent"):
        done = await by_hand(tidemill, name)
        assert (done.state, done.reason) == (EvaluationState.EVALUATION_STATE_FAILED, "JUDGE_UNRELIABLE")

    await Gates(tidemill.connection).create(gate_of("fair", "jury", reevaluate=Reevaluate(on_provider_change=True)))
    await tidemill.models.import_openai("writer", "writer-2", base_url=provider.url)
    passed = await ended(tidemill, again=False)

    assert passed.verdict == Verdict.VERDICT_PASSED, passed
    assert {each.metric: each.difference for each in passed.comparisons if each.required} == {
        "judge:fair": 1.0,
        "judge:jury": 0.875,
    }

    await tidemill.deployments.update(Deployment(id="helpdesk", model="writer@2"), "model")
    first = await asked(tidemill, "Where is the odd one?")
    assert (first.variant.provider_model, first.variant.system_fingerprint) == ("writer-2", "fp_1")
    provider.changed = True
    assert (await asked(tidemill, "Where is the odd one now?")).variant.system_fingerprint == "fp_2"
    worse = await ended(tidemill, again=True)

    assert (worse.verdict, worse.candidate, worse.reevaluates) == (Verdict.VERDICT_WORSE, "writer@2", passed.id)
    assert [each.metric for each in worse.comparisons if each.required and not each.holds] == [
        "judge:fair",
        "judge:jury",
    ]


@RUNS
@pytest.mark.timeout(900)
async def test_reviewed_and_corrected_answers_become_cases_that_an_evaluation_asks(tidemill: Tidemill) -> None:
    await reviewed(tidemill)
    message = Message(role=Role.ROLE_USER, parts=[Part(text="Where is the odd key?")])
    request = GenerateRequest(deployment="helpdesk", messages=[message], end_user="ada")
    answer = (await tidemill.connection.inferences.Generate(request, timeout=60)).inference
    right = Message(role=Role.ROLE_ASSISTANT, parts=[Part(text="In the drawer.")])
    correction = Feedback(
        inference=answer.id, metric="correction", end_user="ada", correction=Correction(output=[right])
    )
    await tidemill.connection.feedback.SubmitFeedback(SubmitFeedbackRequest(feedback=correction))
    proposals = SuiteProposals(tidemill.connection)

    of_queue = LiveAnswers(deployment="helpdesk", queue="answers", right_field="right")
    by_review = await proposals.propose(SuiteProposal(suite="grown", live=of_queue))
    corrected = LiveAnswers(deployment="helpdesk", corrections=True)
    by_user = await proposals.propose(SuiteProposal(suite="grown", live=corrected))
    accepted = [await proposals.accept(each.id, note="seen") for each in (by_review, by_user)]
    suite = await Suites(tidemill.connection).get("grown")
    started = await tidemill.evaluations.compare("helpdesk", ["grown"], candidate="writer@1")
    done = await tidemill.evaluations.wait(started.id, within_s=240)

    assert (by_review.case_count, by_user.case_count) == (REVIEWED // 2, 1), (by_review, by_user)
    assert [(each.accepted_version, each.accepted_case_count) for each in accepted] == [(1, REVIEWED // 2), (2, 1)]
    live = next(each for each in suite.cases if each.id == answer.id)
    assert (live.question, live.reference, live.end_user) == ("Where is the odd key?", "In the drawer.", "ada")
    assert {each.reference for each in suite.cases} == {GOOD, "In the drawer."}
    assert done.state == EvaluationState.EVALUATION_STATE_COMPLETED, done
    assert {(each.case_set, each.cases) for each in done.comparisons} >= {("suite:grown@2", REVIEWED // 2 + 1)}
