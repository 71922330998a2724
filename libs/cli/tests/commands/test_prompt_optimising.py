"""A model proposes prompts; what is nonsense is dropped, and only what is shown to be better is saved."""

import asyncio
import json

import pytest

from libs.cli.tests.commands.conftest import Said, Terminal
from libs.cli.tests.commands.prompt_answers import PromptAnswers
from libs.cli.tests.loop.running import Running
from tidemill.content.v1.content_pb2 import ROLE_ASSISTANT, Message, Part
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.evaluator.v1 import prompt_test_pb2 as pb
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill.inference.v1.deployment_pb2 import RECORD_MODE_METADATA
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateResponse
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill.inference.v1.prompt_service_pb2 import GetPromptResponse
from tidemill_cli.prompt_findings import Optimising, winner
from tidemill_cli.prompt_search import (
    EMPTY,
    LOST,
    REPEATED,
    TOO_LONG,
    Candidate,
    flaw_of,
    front_of,
    halves_of,
    required_of,
    variables_in,
)
from tidemill_client.prompt_tests import Unsaved
from tidemill_core.errors import InvalidInput

OPTIMISE = ("prompts", "optimise", "answer", "--suite", "questions", "--by", "writer", "--deployment", "helpdesk")
CURRENT = Unsaved(user="{% for p in passages %}{{ p.text }}{% endfor %}{{ question }}", system="Be {{ tone }}.")


class Optimised(PromptAnswers):
    """Answers are the better the more `!` a prompt has, and longer; `certain` says whether intervals show it."""

    def __init__(self) -> None:
        super().__init__()
        self.proposes: list[str] = []
        """What the model says, one answer after the other; the last one again and again."""
        self.proposals_asked: list[GenerateRequest] = []
        self.certain = True
        self.failing = 0
        """Marks of the prompt that fails in a case."""
        self.changes: list[tuple[Running, Prompt]] = []
        """Prompts that others write while the model proposes."""

    @property
    def test(self) -> pb.PromptTest:
        variants = self.started[-1].variants
        test = pb.PromptTest(id="t1", suite="questions", variants=variants, state=self.state, confidence=0.95)
        marks = [each.unsaved.user.count("!") for each in variants]
        for number, mark in enumerate(marks):
            figures = test.figures.add(answered=10, failures=int(mark == self.failing > 0))
            score = figures.measures.add(metric="rouge_l", observations=10, mean=0.5 + mark / 10, low=0.1, high=0.9)
            figures.measures.add(metric="output_tokens", observations=10, mean=20 + mark, less_is_better=True)
            figures.measures.add(metric="input_tokens", observations=10, mean=100, less_is_better=True)
            if number:
                score.difference, score.pairs = (mark - marks[0]) / 10, 10
                score.difference_low = score.difference - (0.01 if self.certain else 1.0)
                score.difference_high = score.difference + 0.01
        return test

    def propose(self, request: GenerateRequest) -> GenerateResponse:
        self.proposals_asked.append(request)
        for running, changed in self.changes:
            running.keepers["prompt"].stored[changed.id] = changed
        said = self.proposes.pop(0) if len(self.proposes) > 1 else self.proposes[0]
        if said == "TOO LONG":
            raise InvalidInput.at(field="messages", text="have too many tokens")
        answer = Inference(id="i1", output=[Message(role=ROLE_ASSISTANT, parts=[Part(text=said)])])
        answer.usage.input_tokens, answer.usage.output_tokens = 500, 100
        return GenerateResponse(inference=answer)

    def normalise(self, prompt: Prompt) -> None:
        """Do as inference does with a prompt that is written."""
        if "{% if %}" in prompt.content.user:
            raise InvalidInput.at(field="content.user", text="has an error in line 1")
        prompt.latest_version = 4


def said(*users: str, system: str = "Be kind.") -> str:
    return json.dumps({"prompts": [{"system": system, "user": user} for user in users]})


@pytest.fixture
def prompted() -> Optimised:
    return Optimised()


@pytest.fixture(autouse=True)
def _declared(running: Running, prompted: Optimised) -> None:
    prompted.declare(running)
    content = PromptContent(system="Be kind.", user="{{ question }}")
    kept = running.keepers["prompt"]
    kept.normalise, kept.stored["answer"] = prompted.normalise, Prompt(id="answer", content=content, latest_version=3)
    running.answers["inference.v1.prompt_service:GetPrompt"] = lambda request: GetPromptResponse(
        prompt=kept.stored[request.id]
    )
    running.answers["inference.v1.inference_service:Generate"] = prompted.propose
    cases = [Case(id=f"c{number}", question=f"what is {number}?", reference="it is") for number in range(23)]
    cases.append(Case(id="c23", question="what is the number called seven?", reference="it is"))
    running.keepers["suite"].stored["questions"] = Suite(id="questions", cases=cases)


async def optimised(terminal: Terminal, *arguments: str) -> Said:
    return await asyncio.to_thread(terminal, *OPTIMISE, *arguments)


async def test_the_best_prompt_is_compared_on_held_out_cases_and_saved(
    terminal: Terminal, running: Running, prompted: Optimised
) -> None:
    prompted.proposes = [said("! {{ question }}", "!! {{ question }}"), said("!!! {{ question }}")]

    done = await optimised(terminal, "--candidates", "3", "--create", "--json")

    assert done.code == 0, done.text
    seen = {case for request in prompted.started[:-1] for case in request.cases}
    held_out = set(prompted.started[-1].cases)
    assert (len(seen), len(held_out), seen & held_out) == (12, 12, set())
    assert [each.name for each in prompted.started[-1].variants] == ["current", "p3"]
    assert running.keepers["prompt"].stored["answer"].content.user == "!!! {{ question }}"
    assert (done.data["created"], done.data["ended"]) == (4, "3 prompts were measured")
    assert done.data["tokens"] == 2 * 600 + sum(10 * 100 for _ in range(1 + 3 + 2 + 2)) + 10 * (
        20 * 8 + 1 + 2 + 2 + 3 + 3
    )


async def test_what_costs_more_and_is_better_leaves_the_cheap_one_in_the_front(
    terminal: Terminal, prompted: Optimised
) -> None:
    prompted.proposes = [said("! {{ question }}", "!! {{ question }}")]

    done = await optimised(terminal, "--candidates", "2", "--and", "output_tokens", "--json")

    assert [each["name"] for each in done.data["front"]] == ["p2", "p1", "current"]
    assert not done.data["created"]


async def test_nonsense_is_dropped_with_its_reason_and_the_search_ends(terminal: Terminal, prompted: Optimised) -> None:
    prompted.proposes = [
        said("", "{{ question }}", "no question", "x" * 5000 + "{{ question }}"),
        said("As in: what is the number  called seven? {{ question }}"),
        said("{% if %}{{ question }}"),
        "I cannot help with that.",
    ]

    done = await optimised(terminal)

    text = " ".join(done.text.split())
    assert done.code == 0, done.text
    assert "writer proposed nothing new three times" in text
    for reason in (
        "1 copied from a case",
        "1 empty",
        "1 a repeat",
        "1 lost variables",
        "1 too long",
        "1 a template that fails",
    ):
        assert reason in text
    assert "No prompt is shown to be better than the present one of answer." in text


async def test_a_gain_that_is_not_shown_is_saved_only_by_request(
    terminal: Terminal, running: Running, prompted: Optimised
) -> None:
    prompted.proposes, prompted.certain = [said("! {{ question }}")], False

    refused = await optimised(terminal, "--candidates", "1", "--create")
    assert (refused.code, running.keepers["prompt"].written) == (2, [])

    taken = await optimised(terminal, "--candidates", "1", "--create", "--accept-uncertain")
    assert (taken.code, running.keepers["prompt"].written) == (0, ["answer"])


async def test_a_prompt_that_was_changed_meanwhile_is_not_overwritten(
    terminal: Terminal, running: Running, prompted: Optimised
) -> None:
    prompted.proposes = [said("! {{ question }}")]
    changed = Prompt(id="answer", content=PromptContent(user="{{ question }}?"), latest_version=4)
    prompted.changes = [(running, changed)]

    refused = await optimised(terminal, "--candidates", "1", "--create")

    assert (refused.code, running.keepers["prompt"].written) == (1, [])
    assert "prompt answer was changed while others were measured" in " ".join(refused.text.split())


async def test_cases_go_to_the_model_as_data_and_are_not_recorded(terminal: Terminal, prompted: Optimised) -> None:
    prompted.proposes = [said("! {{ question }}")]

    await optimised(terminal, "--candidates", "1")

    (request,) = prompted.proposals_asked
    text = request.messages[0].parts[0].text
    material = json.loads(text[text.index('{"prompts": [{"system": "Be kind."') :])
    assert request.deployment == "writer"
    assert request.record_mode == RECORD_MODE_METADATA
    assert material["failures"][0]["expected"] == "three"
    assert material["prompts"][0]["scores"] == {"rouge_l": 0.5}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("gate", "suite questions is required by strict: a prompt that is fitted to a gate's cases"),
        ("few", "suite questions has 3 cases: 20 are needed"),
        ("failed", "prompt test t1 ended without figures"),
        ("metric", "the present prompt has no value of bleu on suite questions"),
    ],
)
async def test_what_it_needs_is_said(
    terminal: Terminal, running: Running, prompted: Optimised, change: str, text: str
) -> None:
    prompted.proposes = [said("! {{ question }}")]
    if change == "gate":
        require = [ev.Requirement(suite="questions", metric="rouge_l")]
        running.keepers["gate"].stored["strict"] = ev.Gate(id="strict", require=require)
    elif change == "few":
        del running.keepers["suite"].stored["questions"].cases[3:]
    elif change == "failed":
        prompted.state = ev.EVALUATION_STATE_FAILED

    metric = "bleu" if change == "metric" else "rouge_l"
    refused = await optimised(terminal, "--candidates", "1", "--metric", metric)

    assert refused.code == 1
    assert text in " ".join(refused.text.split())
    if change == "gate":
        assert (await optimised(terminal, "--candidates", "1", "--accept")).code == 0


def won(*figures: pb.VariantFigures, uncertain: bool = False) -> str:
    names = [f"p{number}" for number, _ in enumerate(figures)]
    comparison = pb.PromptTest(variants=[pb.PromptVariant(name=each) for each in names], figures=figures)
    current, *measured = [Candidate(text=Unsaved(user=each), name=each) for each in names]
    found = winner(
        Optimising(current=current, measured=measured, comparison=comparison), "rouge_l", uncertain=uncertain
    )
    return found.name if found else ""


def gained(gain: float, low: float, *, pairs: int = 5, failures: int = 1) -> pb.VariantFigures:
    measure = pb.VariantMeasure(metric="rouge_l", pairs=pairs, difference=gain, difference_low=low, difference_high=1.0)
    return pb.VariantFigures(measures=[measure], failures=failures)


NOTHING = pb.VariantFigures(failures=1)


def test_the_highest_gain_of_those_that_are_shown_wins() -> None:
    figures = (NOTHING, gained(0.3, -0.1), gained(0.2, 0.1), gained(0.1, 0.05))

    assert won(*figures) == won(*figures, uncertain=True) == "p2"
    assert won(*figures[:2], uncertain=True) == "p1"
    assert not won(*figures[:2])


def test_a_prompt_that_fails_more_or_has_few_pairs_does_not_win() -> None:
    failing, few = gained(0.9, 0.8, failures=2), gained(0.8, 0.7, pairs=4)

    assert won(NOTHING, failing, few, gained(0.1, 0.05)) == "p3"
    assert not won(NOTHING, failing, few, uncertain=True)


async def test_a_prompt_that_fails_more_on_seen_cases_is_not_compared(terminal: Terminal, prompted: Optimised) -> None:
    prompted.proposes, prompted.failing = [said("! {{ question }}", "!! {{ question }}")], 2

    done = await optimised(terminal, "--candidates", "2", "--json")

    assert [each.name for each in prompted.started[-1].variants] == ["current", "p1"]
    assert [each["name"] for each in done.data["front"]] == ["p1"]


async def test_an_error_ends_the_search_with_what_was_measured(
    terminal: Terminal, running: Running, prompted: Optimised
) -> None:
    prompted.proposes = [said("! {{ question }}"), "TOO LONG"]

    done = await optimised(terminal, "--candidates", "3", "--create", "--json")

    assert done.code == 0, done.text
    assert "have too many tokens" in done.data["ended"]
    assert running.keepers["prompt"].stored["answer"].content.user == "! {{ question }}"


async def test_tests_have_no_more_answers_than_the_evaluator_takes(
    terminal: Terminal, running: Running, prompted: Optimised
) -> None:
    prompted.proposes = [said(*("!" * (number + 1) + " {{ question }}" for number in range(4)))]
    cases = [Case(id=f"c{number}", question=f"what is {number}?", reference="it is") for number in range(900)]
    running.keepers["suite"].stored["questions"] = Suite(id="questions", cases=cases)

    await optimised(terminal, "--candidates", "4", "--sample", "400", "--and", "output_tokens")

    answers = [len(each.cases) * len(each.variants) for each in prompted.started]
    assert answers == [400, 2000, 5 * 333]


def test_what_depends_on_one_another_is_in_one_half() -> None:
    cases = [Case(id=f"c{number}", question=f"What is {number // 3}?") for number in range(60)]
    for case in cases[:2]:
        case.question = case.question.upper().rstrip("?") + "  ?"
    for case in (cases[2], cases[30]):
        case.labels["tidemill.dev/pair"] = "her or him"

    seen, held_out = halves_of(cases, 0.5)

    assert sorted([*seen, *held_out]) == sorted(each.id for each in cases)
    halves = [seen if each.id in seen else held_out for each in cases]
    assert all(halves[number] is halves[number // 3 * 3] for number in range(60))
    assert halves[0] is halves[30]
    assert 25 <= len(seen) <= 35


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (Unsaved(user=" "), EMPTY),
        (Unsaved(user=CURRENT.user, system=f"  {CURRENT.system}\n"), REPEATED),
        (Unsaved(user="{{ question }} {{ tone }}"), LOST),
        (Unsaved(user="{{ question }}{{ passages }}{{ tone }}" + "x" * 5000), TOO_LONG),
        (Unsaved(user="{{ question }}{% for each in passages %}{{ each.text }}{% endfor %}", system="{{ tone }}"), ""),
    ],
)
def test_a_proposal_has_to_use_what_the_present_prompt_is_given(text: Unsaved, flaw: str) -> None:
    required = required_of(CURRENT, ["tone"])

    assert required == {"question", "passages", "tone"}
    assert flaw_of(text, CURRENT, required=required, known=[CURRENT]) == flaw


def test_words_in_texts_and_attributes_are_no_variables() -> None:
    found = variables_in(Unsaved(user="question {{ p.passages }}{{ 'tone' }}{% if memory %}{% endif %}"))

    assert not found & {"question", "passages", "tone"}
    assert "memory" in found


def test_the_front_has_what_no_other_prompt_beats() -> None:
    def candidate(name: str, **values: float) -> Candidate:
        return Candidate(text=Unsaved(user=name), name=name, values=values)

    found = front_of(
        [
            candidate("good", score=0.8, tokens=-30),
            candidate("cheap", score=0.5, tokens=-10),
            candidate("worse", score=0.5, tokens=-30),
            candidate("equal", score=0.8, tokens=-30),
            candidate("unmeasured"),
        ]
    )

    assert [each.name for each in found] == ["good", "equal", "cheap"]
