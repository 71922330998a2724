"""Ends the sessions that a broker keeps for the consumers of a process that was killed."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest


async def end_sessions(kafka: str, pid: int) -> None:
    """Take the members of a process that is no more out of their groups.

    The broker does so by itself when their sessions end, 15 s after a kill; until then a process that starts again
    gets no partition and is not ready.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        for name, _ in await admin.list_consumer_groups():
            [response] = await admin.describe_consumer_groups([name])  # of several it would misread the second
            [group] = response.to_object()["groups"]
            for member in group["members"]:
                if member["client_id"].endswith(f"-{pid}"):
                    leaving = LeaveGroupRequest(name, member["member_id"])
                    await admin._send_request(leaving, await admin.find_coordinator(name))  # noqa: SLF001 - it has no method for it
    finally:
        await admin.close()
