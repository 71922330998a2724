"""What commands tell of a history that is longer than what is shown."""

import asyncio

from libs.client.tests.cli.conftest import Terminal
from libs.client.tests.loop.running import Running
from tidemill.monitor.v1.lineage_pb2 import TimelineEntry
from tidemill.monitor.v1.lineage_service_pb2 import GetTimelineResponse


async def test_a_time_line_that_was_cut_says_so(terminal: Terminal, running: Running) -> None:
    entries = [TimelineEntry(message="it is live")]
    running.answers["monitor.v1.lineage_service:GetTimeline"] = lambda _: GetTimelineResponse(entries=entries, cut=True)

    people = await asyncio.to_thread(terminal, "rollouts", "timeline", "helpdesk")
    programs = await asyncio.to_thread(terminal, "rollouts", "timeline", "helpdesk", "--json")

    assert "it is live" in people.text
    assert "the oldest is left out" in people.text
    assert programs.data["cut"]
