"""Documents as earlier versions of trainer wrote them are read, and written again as they were."""

from typing import Any

import pytest

from tidemill.trainer.v1 import model_pb2 as pb
from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.mapping import unsent
from tidemill_trainer.registry.domain.base_facts import BaseFacts
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import ModelKind
from tidemill_trainer.registry.domain.sources import (
    DerivedSource,
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    TrainedSource,
)
from tidemill_trainer.registry.mongo import MODELS, VERSIONS

IDENTITY = Identity(
    id="m@1", project="acme", labels={}, version=1, seq=0, create_time=None, update_time=None, deleted=False
)
FACTS = {"modules": ["layers.*.q_proj"], "context_tokens": 9, "chat_template": True, "quantized": False}
STORED = {"bucket": "exchange", "key": "acme/m@1/aa", "size": 23, "sha256": "a" * 64}
FILES = [
    {"path": "config.json", "size": 23, "sha256": "a" * 64, "object": STORED, "facts": None},
    {"path": "model.safetensors", "size": 82, "sha256": "b" * 64, "object": None, "facts": FACTS},
]


def stored(source: dict[str, str], **changes: object) -> dict[str, Any]:
    state: dict[str, Any] = {
        "model": "m",
        "number": 1,
        "state": "uploading",
        "source": source,
        "begun_by": "r1",
        "artifacts": [],
        "digest": "",
        "expected_bytes": 105,
        "message": "",
        "epoch": 0,
    }
    return state | changes


@pytest.mark.parametrize(
    ("state", "source"),
    [
        (stored({"kind": "folder"}, artifacts=FILES), FolderSource),
        (
            stored({"kind": "hugging_face", "repository": "org/m", "revision": "main", "commit": ""}),
            HuggingFaceSource,
        ),
        (
            stored({"kind": "openai", "model": "gpt", "base_url": "https://a.example/v1", "api_key_secret": "K"}),
            OpenAiSource,
        ),
        (
            stored({"kind": "trained", "run": "r", "base": "b@1", "dataset_version": "sft@1"}, artifacts=FILES),
            TrainedSource,
        ),
        (
            stored(
                {
                    "kind": "derived",
                    "derivation": "d",
                    "source_version": "l@1",
                    "method": "merge",
                    "dataset_version": "",
                }
            ),
            DerivedSource,
        ),
    ],
)
def test_a_version_is_read_and_written_as_it_was_stored(state: dict[str, Any], source: type) -> None:
    version = VERSIONS.decode(IDENTITY, state, 1)

    assert isinstance(version.source, source)
    added: dict[str, Any] = {"creator": "", "authors": [], "promotions": [], "approvals": [], "reward_model": None}
    added["memorisation"] = None
    if source is TrainedSource:
        added["source"] = {**state["source"], "finetuned_from": ""}
    assert VERSIONS.encode(version) == {**state, **added}


def test_a_reward_model_is_read_as_it_was_stored() -> None:
    stored_model = {"tokenizer_sha256": "c" * 64, "head": "score", "accuracy": {"pairs": 40, "correct": 30}}
    source = {"kind": "trained", "run": "r", "base": "b@1", "dataset_version": "pairs@1"}

    version = VERSIONS.decode(IDENTITY, stored(source, reward_model=stored_model), 1)

    assert version.kind is ModelKind.REWARD_MODEL
    assert VERSIONS.encode(version)["reward_model"] == stored_model


def test_files_are_stored_once_and_those_without_facts_stay_readable() -> None:
    before_int8 = {name: value for name, value in FACTS.items() if name != "quantized"}
    state = stored({"kind": "folder"}, artifacts=[FILES[0], {**FILES[1], "facts": before_int8}])

    version = VERSIONS.decode(IDENTITY, state, 1)

    assert isinstance(version.source, FolderSource)
    assert version.source.manifest == version.manifest
    assert (version.artifacts[0].object, version.facts.names) == (ObjectRef(**STORED), ["q_proj"])  # type: ignore[arg-type] # as stored
    for entry in state["artifacts"]:
        del entry["facts"]
    assert VERSIONS.decode(IDENTITY, state, 1).facts == BaseFacts()


def test_a_model_is_read_and_written_as_it_was_stored() -> None:
    numbers = [{"key": "a.b$c", "number": 2}, {"key": "main", "number": 3}]
    state = {"version_count": 3, "first_number": 2, "numbers": numbers}

    model = MODELS.decode(IDENTITY, state, 1)

    assert model.numbers == {"a.b$c": 2, "main": 3}
    assert MODELS.encode(model) == {**state, "approval": {"count": 0, "role": "operator"}}


def test_what_is_not_sent_is_of_the_registry_itself() -> None:
    assert unsent(pb.Model, Model) == {"first_number", "numbers"}
    assert unsent(pb.ModelVersion, ModelVersion) == {"begun_by", "epoch", "expected_bytes"}
