"""Prompts of inferences, asked for once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tidemill_feedback.curations.domain.example import PassageUse, Prompt, Turn
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert

_WITH_ANSWER: Document = {"prompt.answer": {"$exists": True}}
"""Those of earlier versions lack the answer, and are fetched again when a new example needs them."""


class MongoPrompts:
    """Implements `ports.Prompts`. `_id` is `<project>/<inference>`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def missing(self, project: str, inferences: Sequence[str]) -> Sequence[str]:
        """See `Prompts.missing`."""
        named = {_id(project, each): each for each in inferences}
        with translated():
            known = self._collection.find({"_id": {"$in": list(named)}, **_WITH_ANSWER}, {"_id": True})
            found = await known.to_list(None)
        there = {document["_id"] for document in found}
        return [inference for document_id, inference in named.items() if document_id not in there]

    async def keep(self, project: str, inference: str, prompt: Prompt) -> None:
        """See `Prompts.keep`."""
        fields = {"inference": inference, "prompt": _encoded(prompt)}
        without_answer = {"_id": _id(project, inference), "prompt.answer": {"$exists": False}}
        await update_or_insert(self._collection, without_answer, {"$set": fields})

    async def get(self, project: str, inferences: Sequence[str]) -> Mapping[str, Prompt]:
        """See `Prompts.get`."""
        ids = [_id(project, each) for each in inferences]
        with translated():
            found = await self._collection.find({"_id": {"$in": ids}}).to_list(None)
        return {document["inference"]: _decoded(document["prompt"]) for document in found}

    async def forget(self, project: str, inferences: Sequence[str]) -> None:
        """See `Prompts.forget`."""
        with translated():
            await self._collection.delete_many({"_id": {"$in": [_id(project, each) for each in inferences]}})


def _id(project: str, inference: str) -> str:
    return f"{project}/{inference}"


def _encoded(prompt: Prompt) -> Document:
    return {
        "question": prompt.question,
        "messages": [asdict(turn) for turn in prompt.messages],
        "passages": [asdict(passage) for passage in prompt.passages],
        "earlier": [asdict(turn) for turn in prompt.earlier],
        "variables": json.dumps(dict(prompt.variables)),  # names that MongoDB may not take
        "principals": list(prompt.principals),
        "answer": prompt.answer,
    }


def _decoded(stored: Document) -> Prompt:
    return Prompt(
        question=stored["question"],
        messages=tuple(Turn(**turn) for turn in stored["messages"]),
        passages=tuple(PassageUse(**passage) for passage in stored["passages"]),
        earlier=tuple(Turn(**turn) for turn in stored.get("earlier", ())),
        variables=json.loads(stored.get("variables", "{}")),
        principals=tuple(stored.get("principals", ())),
        answer=stored.get("answer"),
    )
