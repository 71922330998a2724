import pytest

from tidemill.monitor.v1.retention_pb2 import RetentionKind
from tidemill.trainer.v1.training_pb2 import TrainingRunState
from tidemill_client.enums import name_of, value_of
from tidemill_core.errors import InvalidInput


def test_a_value_is_read_and_written_without_the_name_of_its_enum() -> None:
    assert name_of(TrainingRunState, TrainingRunState.TRAINING_RUN_STATE_RUNNING) == "running"
    named = value_of(RetentionKind, "evaluation_results", field="kind")
    assert named == RetentionKind.RETENTION_KIND_EVALUATION_RESULTS


@pytest.mark.parametrize("name", ["", "unspecified", "ANSWERS", "RETENTION_KIND_ANSWERS", "all"])
def test_a_name_that_no_value_has_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InvalidInput, match="use one of answers, feedback") as refused:
        value_of(RetentionKind, name, field="kind")

    assert [violation.field for violation in refused.value.violations] == ["kind"]
