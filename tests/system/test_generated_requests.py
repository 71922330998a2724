"""Generated requests of every RPC: each gets an answer of the contract, from a process that goes on."""

import os
from collections import Counter

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings

from tests.system.calls import METHODS, Calls, service_of
from tests.system.generated import requests, with_nan
from tests.system.harvest import Harvest
from tidemill.status.v1.status_service_pb2 import GetStatusResponse
from tidemill.trainer.v1.training_service_pb2 import CancelTrainingRunRequest, ListTrainingRunsResponse

QUICK = 3
CASES = int(os.environ.get("TIDEMILL_GENERATED_CASES", QUICK))
"""Of each RPC; `make verify` sends 1,000."""
FAULTS = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "DATA_LOSS", "UNIMPLEMENTED"}
STATUS = "tidemill.status.v1.StatusService/GetStatus"
TRAININGS = "tidemill.trainer.v1.TrainingService"

WITH_STRUCTS = [name for name, each in METHODS.items() if with_nan(GetMessageClass(each.input_type)())]

pytestmark = pytest.mark.timeout(7200 if CASES > QUICK else 600)  # the first test waits for a turn of the loop


def started(calls: Calls, service: str) -> tuple[int, int]:
    """Return since when a service runs, which says that it is the same process; it answers, so its event loop turns."""
    answer = calls(STATUS, b"", service=service)
    assert answer.code == "OK", answer
    start_time = GetStatusResponse.FromString(answer.body).status.start_time
    return start_time.seconds, start_time.nanos


def end_runs(calls: Calls) -> None:
    """Cancel the trainings that requests have started: they would take more than all of the requests."""
    listed = calls(f"{TRAININGS}/ListTrainingRuns", b"")
    for run in ListTrainingRunsResponse.FromString(listed.body).runs:
        if not run.HasField("finish_time"):
            calls(f"{TRAININGS}/CancelTrainingRun", CancelTrainingRunRequest(id=run.id).SerializeToString())


@pytest.mark.parametrize("name", METHODS)
def test_every_request_gets_an_answer_of_the_contract(calls: Calls, harvest: Harvest, name: str) -> None:
    method = METHODS[name]
    service, codes = service_of(method), Counter[str]()
    before = started(calls, service)

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=CASES <= QUICK,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(method, harvest.sound(method)))
    def ask(drawn: list[bytes]) -> None:
        answer = calls(name, *drawn)
        codes[answer.code] += 1
        assert answer.code not in FAULTS, answer

    ask()
    if service == "trainer":
        end_runs(calls)

    assert started(calls, service) == before


@pytest.mark.parametrize("name", WITH_STRUCTS)
def test_a_number_that_json_lacks_is_refused_in_every_struct(calls: Calls, harvest: Harvest, name: str) -> None:
    (sound,) = harvest.sound(METHODS[name])
    with_nan(sound)

    assert calls(name, sound.SerializeToString()).code == "INVALID_ARGUMENT"
