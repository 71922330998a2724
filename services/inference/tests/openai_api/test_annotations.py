"""Citations as annotations of a message, in the shape of OpenAI's API."""

from dataclasses import replace

from services.inference.tests.fakes import ADA, asking, question
from services.inference.tests.openai_api.apis import PASSAGE, answered, inference
from tidemill_inference.generation.domain.content import AnchorKind, Place
from tidemill_inference.openai_api.completions import completion

SPAN = {"start_index": 0, "end_index": 3}


def test_a_citation_names_the_documents_address_or_else_the_document() -> None:
    whole = answered(inference(ADA, question(), asking("r1")), "So.")
    page = Place(kind=AnchorKind.PAGE, first=7, last=7)
    addressed = replace(PASSAGE, uri="https://kb.example/1", title="Kestrels", places=(page,))
    annotations = [
        completion(replace(whole, passages=(passage,)), feedback_token="")["choices"][0]["message"]["annotations"]
        for passage in (addressed, PASSAGE)
    ]

    address = {**SPAN, "url": "https://kb.example/1", "title": "Kestrels, page 7"}
    document = {**SPAN, "file_id": "d-1", "filename": "kb/1"}
    assert annotations == [
        [{"type": "url_citation", "url_citation": address}],
        [{"type": "file_citation", "file_citation": document}],
    ]
