"""Mapping of prompt tests to their messages."""

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.evaluator.v1 import prompt_test_pb2 as pb
from tidemill.evaluator.v1 import prompt_test_service_pb2 as rpc
from tidemill_evaluator.evaluations.domain.asked_by import AS_DEPLOYED, PromptText, VariantSampling
from tidemill_evaluator.prompt_tests.domain.grid import Grid, PromptVariant
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.list_prompt_results import ShownCells
from tidemill_evaluator.suites.domain.cases import Case, Context
from tidemill_evaluator.suites.messages import turn_message, turn_of
from tidemill_kit.mapping import from_message, from_struct, to_message


def grid_of(request: rpc.StartPromptTestRequest) -> Grid:
    """Return what a request asks.

    Raises:
        InvalidInput: a turn has a role or a part that is not supported, or variables contain NaN.

    """
    return Grid(
        suite=request.suite,
        max_cases=request.max_cases,
        cases=tuple(request.cases),
        questions=tuple(_question_of(each, number) for number, each in enumerate(request.questions)),
        variants=tuple(_variant_of(each, number) for number, each in enumerate(request.variants)),
        metrics=tuple(dict.fromkeys(request.metrics)),
    )


def prompt_test_message(test: PromptTest) -> pb.PromptTest:
    """Return the message of a test."""
    case_set = test.pinned.case_set if test.pinned else None
    return to_message(
        pb.PromptTest,
        test,
        test.grid,
        suite_version=case_set.number if case_set else 0,
        questions=[_question_message(each) for each in test.grid.questions],
        variants=[_variant_message(each) for each in test.grid.variants],
    )


def listed_message(test: PromptTest) -> pb.PromptTest:
    """Return the message of a test in a list: without the texts that are stored with it, and without measures."""
    found = prompt_test_message(test)
    found.ClearField("questions")
    found.ClearField("cases")
    for variant in found.variants:
        variant.ClearField("unsaved")
    for figures in found.figures:
        figures.ClearField("measures")
    return found


def result_message(shown: ShownCells) -> pb.PromptResult:
    """Return the message of a result."""
    answers = [to_message(pb.VariantAnswer, cell) for cell in shown.result.cells]
    return to_message(pb.PromptResult, shown, shown.result, answers=answers)


def _question_of(message: pb.PromptQuestion, number: int) -> Case:
    where = f"questions[{number}]"
    context = Context(
        earlier=tuple(turn_of(turn, f"{where}.earlier[{place}]") for place, turn in enumerate(message.earlier)),
        variables=from_struct(message.variables, field=f"{where}.variables"),
        principals=tuple(message.principals),
    )
    return Case(id=str(number + 1), question=message.question, reference=message.reference, context=context)


def _question_message(case: Case) -> pb.PromptQuestion:
    variables = ParseDict(dict(case.context.variables), Struct()) if case.context.variables else None
    earlier = [turn_message(turn) for turn in case.context.earlier]
    return to_message(pb.PromptQuestion, case, case.context, earlier=earlier, variables=variables)


def _variant_of(message: pb.PromptVariant, number: int) -> PromptVariant:
    where = f"variants[{number}]"
    unsaved, sampling = None, AS_DEPLOYED
    if message.HasField("unsaved"):
        unsaved = from_message(PromptText, message.unsaved, prefix=f"{where}.unsaved")
    if message.HasField("sampling"):
        sampling = from_message(VariantSampling, message.sampling, prefix=f"{where}.sampling")
    return from_message(
        PromptVariant,
        message,
        prefix=where,
        name=message.name or str(number + 1),
        unsaved=unsaved,
        sampling=sampling,
    )


def _variant_message(variant: PromptVariant) -> pb.PromptVariant:
    sampling = to_message(pb.VariantSampling, variant.sampling) if variant.sampling != AS_DEPLOYED else None
    return to_message(pb.PromptVariant, variant, sampling=sampling)
