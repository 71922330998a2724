"""The publisher that the README holds up as the pattern for any upstream system."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tidemill_kit.events.cloudevents import attributes_of

PUBLISHER = Path(__file__).parents[4] / "examples" / "helpdesk" / "publish.py"


@pytest.fixture(scope="module")
def publisher() -> Any:  # noqa: ANN401 - a program, not a package
    specification = importlib.util.spec_from_file_location("helpdesk_publish", PUBLISHER)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def event_id(publisher: Any, entry: dict[str, Any]) -> str:  # noqa: ANN401 - ditto
    return attributes_of(publisher.record(json.dumps(entry), "acme", "https://cms.acme.example/kb")["headers"])["id"]


@pytest.mark.parametrize(
    "entry",
    [
        {"subject": "kb/1", "data": {"media_type": "text/plain", "text": "seven"}},
        {"subject": "kb/1", "deleted": {"reason": "retired"}},
        {"subject": "inference-1", "feedback": {"rating": 0.2}},
    ],
)
def test_a_later_event_with_an_earlier_body_is_an_event_of_its_own(publisher: Any, entry: dict[str, Any]) -> None:  # noqa: ANN401 - ditto
    assert event_id(publisher, entry) != event_id(publisher, entry)


def test_an_upstream_systems_own_id_names_the_event(publisher: Any) -> None:  # noqa: ANN401 - ditto
    entry = {"id": "cms-7", "subject": "kb/1", "deleted": {}}

    assert event_id(publisher, entry) == event_id(publisher, entry) == "cms-7"
