"""A project with something of each kind that a stack makes within seconds, each with words that no other text has."""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from tests.system.random_model import write_example
from tests.system.running import Platform, wait_until
from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.feedback.v1.feedback_pb2 import Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill.monitor.v1.access_pb2 import Member
from tidemill.monitor.v1.access_service_pb2 import CreateMemberRequest
from tidemill.rag.v1.collection_pb2 import Collection, SearchSettings
from tidemill.rag.v1.collection_service_pb2 import UpdateCollectionRequest
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.connection import Connection

CANARY = "quokka"
"""In every text that is written here; in no text of the stack or of another project."""


async def fill(platform: Platform, word: str = CANARY) -> None:
    """Apply the example's loop, and add a document, an answer, feedback and a member; each text has the word.

    The answer is that of a random model.
    """
    with TemporaryDirectory() as folder:
        applied = platform.tidemill("apply", "-f", str(write_example(Path(folder))), "--json")
    assert applied.code == 0, applied.output + applied.errors
    platform.tidemill("projects", "create", platform.project)
    await add_document(platform, word)
    async with Connection(platform.project, platform.addresses) as connection:
        asked = GenerateRequest(
            request_id=str(uuid4()),
            deployment="helpdesk",
            messages=[Message(role=Role.ROLE_USER, parts=[Part(text=f"What is a {word}?")])],
            end_user=f"{word}-visitor",
            sampling=Sampling(max_output_tokens=4),
        )
        inference = (await connection.inferences.Generate(asked, timeout=60)).inference
        given = Feedback(inference=inference.id, metric="comment", comment=f"As {word} as can be.")
        await connection.feedback.SubmitFeedback(SubmitFeedbackRequest(feedback=given))
        member = Member(subject=f"user:{word}@example.org", roles=["viewer"])
        await connection.access.CreateMember(CreateMemberRequest(member=member))


async def add_document(platform: Platform, word: str) -> None:
    """Add a document that has the word, and return once it is found: by the default settings, whatever there were."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{word}.txt"
        file.write_text(f"{word}.measure\n\nThe {word} function measures the height of a {word}.\n")
        added = platform.tidemill("documents", "add", folder, "--recursive", "--below", folder, "--json")
    assert added.code == 0, added.output + added.errors
    async with Connection(platform.project, platform.addresses) as connection:

        async def found() -> bool:
            request = SearchRequest(collection="handbook", query=word, top_k=1)
            return any(word in each.text for each in (await connection.retrieval.Search(request)).passages)

        plain = Collection(id="handbook", search=SearchSettings())
        await connection.collections.UpdateCollection(
            UpdateCollectionRequest(collection=plain, update_mask=FieldMask(paths=["search"]))
        )
        await wait_until(found, "the document to be found")
