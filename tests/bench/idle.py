"""Measures the memory of all processes of the stack while nothing happens, with both models in use.

The embedding model and the answering model are registered and used once. Then nothing is asked for a while, and the
memory of all processes is added up: pages that several share counted once, and the resident memory beside it.

Run on a fresh stack with TIDEMILL_TEST_STACK naming its stack.json: `python -m tests.bench.idle`.
"""

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

from infra import bars
from tests.bench import documents, generate
from tests.bench._figures import report
from tidemill_client.connection import Addresses, Connection
from tidemill_local.addresses import Addresses as StackAddresses

IDLE_S = 100
"""Long enough for idle processes to end (`tidemill_kit.workers.idle_processes`)."""


async def main(stack: Path) -> None:
    """Measure and print."""
    served = StackAddresses.read(stack)
    services = {name: each["grpc"] for name, each in served.services.items()}
    addresses = Addresses(
        services=services,
        kafka=served.kafka,
        kafka_passwords=served.kafka_passwords,
        credential_file=served.credential_file,
    )
    name = uuid4().hex[:8]
    async with Connection(f"bench-{name}", addresses) as connection:
        await documents.prepared(connection, f"https://cms.example/{name}")
        await generate.prepared(connection, generate.ROOT / ".tidemill" / "models" / "smollm2")
        answering = generate.ThroughGenerate(connection, served.services["inference"]["metrics"])
        await answering.answer(["What does os.walk do?"])
    await asyncio.sleep(IDLE_S)
    once, each_time = bars.memory(stack.parent)
    lines = (*once.places, f"all: {once.value:.2f} GB (resident {each_time.value:.2f})")
    sys.stdout.write("\n".join(lines) + "\n")
    report("idle_memory", once.value, "GB")


if __name__ == "__main__":
    asyncio.run(main(Path(os.environ["TIDEMILL_TEST_STACK"]).resolve()))
