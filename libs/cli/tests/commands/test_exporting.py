"""Versions are exported as a folder with a card, as plain weights, and as GGUF, which transformers reads back."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from services.trainer.tests.learning.tiny import write_base
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill_cli.gguf_files import write_gguf
from tidemill_core.errors import DeadlineExceeded, InvalidInput, NotFound
from tidemill_core.models.int8 import INT8

BASE_CARD = b"---\nlicense: 'apache-2.0'\n---\n# Small\n"
OWN_CARD = b"# helpdesk_whole\n\n## Licence\n\nFull weights: an adapter merged into its base by Tidemill.\n"
HUB = pb.ModelSource(hugging_face=pb.HuggingFaceSource(repository="org/small", revision="0" * 40))
DERIVED = pb.ModelSource(derived=pb.DerivedSource(source_version="small@1", method="merge", dataset_version="sft@2"))
CONFIG = {"model_type": "llama"}


class Registry:
    """Versions with their files, and how often each file was asked for."""

    def __init__(self, running: Running) -> None:
        self.files: dict[str, Mapping[str, bytes]] = {}
        self.sources: dict[str, pb.ModelSource] = {}
        self.asked: list[str] = []
        self.max_bytes_of_call = 10**6
        """How many bytes a call gives before it takes too long."""
        running.answers["trainer.v1.model_registry_service:GetModelVersion"] = self._get
        running.answers["trainer.v1.model_registry_service:DownloadModelFile"] = self._download

    def add(self, version: str, files: Mapping[str, bytes], source: pb.ModelSource = HUB) -> None:
        self.files[version], self.sources[version] = files, source

    def _get(self, request: Any) -> rpc.GetModelVersionResponse:  # noqa: ANN401 - as all answers
        if request.id not in self.files:
            raise NotFound(request.id)
        artifacts = [
            pb.Artifact(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in self.files[request.id].items()
        ]
        version = pb.ModelVersion(id=request.id, artifacts=artifacts, source=self.sources[request.id])
        return rpc.GetModelVersionResponse(version=version)

    async def _download(self, request: Any) -> AsyncIterator[rpc.DownloadModelFileResponse]:  # noqa: ANN401 - ditto
        self.asked.append(f"{request.path} from {request.offset}")
        content = self.files[request.version][request.path][request.offset :]
        for begin in range(0, min(len(content), self.max_bytes_of_call), 1000):
            yield rpc.DownloadModelFileResponse(chunk=content[begin : begin + 1000])
        if len(content) > self.max_bytes_of_call:
            message = "the call took too long"
            raise DeadlineExceeded(message)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def registry(running: Running) -> Registry:
    made = Registry(running)
    made.add("small@1", {"README.md": BASE_CARD, "config.json": b"{}"})
    files = {
        "README.md": OWN_CARD,
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": b"w" * 2500,
        "LICENSE": b"2.0",
    }
    made.add("whole@1", files, DERIVED)
    return made


@pytest.mark.usefixtures("registry")
async def test_a_hugging_face_folder_has_a_card_with_licence_base_and_results(
    terminal: Terminal, tmp_path: Path
) -> None:
    said = await asyncio.to_thread(terminal, "models", "export", "whole@1", "--out", str(tmp_path / "made"))

    card = (tmp_path / "made" / "README.md").read_text()
    assert said.code == 0, said.text
    assert card.count("\n## Licence") == 1
    assert "That of its source: see LICENSE here; and the rights in the examples of its dataset." in card
    assert card.startswith("---\nlicense: apache-2.0\nbase_model: org/small\nlibrary_name: transformers\n")
    assert [part for part in ("sft@2", "small@1 by merge", "## Metrics", "Full weights") if part not in card] == []
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == b"w" * 2500


async def test_an_export_that_broke_off_goes_on_with_what_is_missing(
    terminal: Terminal, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"w" * 2500)
    (tmp_path / "config.json.partial").write_bytes(b"{")

    said = await asyncio.to_thread(
        terminal, "models", "export", "whole@1", "--format", "safetensors", "--out", str(tmp_path)
    )

    assert said.code == 0, said.text
    assert not [each for each in registry.asked if "model.safetensors" in each]
    assert "config.json from 1" in registry.asked
    assert names_in(tmp_path) == ["LICENSE", "README.md", "config.json", "model.safetensors"]


async def test_a_file_that_takes_longer_than_a_call_may_is_received_in_several(
    terminal: Terminal, registry: Registry, tmp_path: Path
) -> None:
    registry.max_bytes_of_call = 1000

    said = await asyncio.to_thread(terminal, "models", "export", "whole@1", "--out", str(tmp_path / "made"))

    assert said.code == 0, said.text
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == b"w" * 2500
    assert [each for each in registry.asked if "model" in each] == [
        f"model.safetensors from {offset}" for offset in (0, 1000, 2000)
    ]


async def test_what_an_export_left_of_another_file_is_received_anew(
    terminal: Terminal, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors.partial").write_bytes(b"other")

    said = await asyncio.to_thread(terminal, "models", "export", "whole@1", "--out", str(tmp_path))

    assert said.code == 0, said.text
    assert (tmp_path / "model.safetensors").read_bytes() == b"w" * 2500
    assert [each for each in registry.asked if "model" in each] == [
        "model.safetensors from 5",
        "model.safetensors from 0",
    ]


@pytest.mark.usefixtures("registry")
async def test_a_folder_with_other_files_is_left_as_it_is(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    said = await asyncio.to_thread(terminal, "models", "export", "whole@1", "--out", str(tmp_path))

    assert said.code == 1
    assert "mine.txt" in said.text
    assert names_in(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"adapter_config.json": b"{}"}, "is an adapter"),
        ({"config.json": json.dumps({"quantization_config": dict(INT8)}).encode()}, "int8 weights"),
        ({}, "remote model"),
    ],
)
async def test_what_others_cannot_load_is_refused_with_what_to_do(
    terminal: Terminal, registry: Registry, tmp_path: Path, files: Mapping[str, bytes], why: str
) -> None:
    registry.add("odd@1", files)

    said = await asyncio.to_thread(
        terminal, "models", "export", "odd@1", "--format", "safetensors", "--out", str(tmp_path / "out")
    )

    assert said.code == 1
    assert why in said.text
    assert not (tmp_path / "out").exists()


async def test_a_version_is_written_as_gguf_in_one_file(terminal: Terminal, registry: Registry, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    registry.add("tiny@1", {name: (base / name).read_bytes() for name in names_in(base)} | {"README.md": BASE_CARD})

    said = await asyncio.to_thread(
        terminal, "models", "export", "tiny@1", "--format", "gguf", "--type", "f32", "--out", str(tmp_path / "t.gguf")
    )

    assert said.code == 0, said.text
    assert names_in(tmp_path) == ["base", "t.gguf"]
    assert GGUFReader(tmp_path / "t.gguf").fields["general.license"].contents() == "apache-2.0"
    before = AutoModelForCausalLM.from_pretrained(base).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="t.gguf").state_dict()
    assert before.keys() == after.keys()
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def test_a_gguf_is_written_tensor_by_tensor_with_its_licence_and_the_first_token_that_ends_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("tempfile.SpooledTemporaryFile")
    base = write_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | {"eos_token_id": [7, 5]}
    (base / "config.json").write_text(json.dumps(config))

    write_gguf(base, tmp_path / "t.gguf", name="tiny@1", kind="q8_0", licence="mit")

    fields = GGUFReader(tmp_path / "t.gguf").fields
    names = ("tokenizer.ggml.eos_token_id", "general.license")
    assert [fields[name].contents() for name in names] == [7, "mit"]
    assert names_in(tmp_path) == ["base", "t.gguf"]


@pytest.mark.parametrize(("kind", "error"), [("bf16", 0.005), ("q8_0", 0.01), ("q4_0", 0.15)])
def test_smaller_types_are_as_near_as_their_bits(tmp_path: Path, kind: str, error: float) -> None:
    base = write_base(tmp_path / "base")

    write_gguf(base, tmp_path / "t.gguf", name="tiny@1", kind=kind)

    name = "model.layers.1.self_attn.k_proj.weight"
    before = AutoModelForCausalLM.from_pretrained(base).state_dict()[name]
    after = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="t.gguf").state_dict()[name]
    assert 0 < (before - after).abs().max() < error * before.abs().max()


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("config.json", {"model_type": "qwen2"}, "model_type is qwen2"),
        ("config.json", {"attention_bias": True}, "biases"),
        ("config.json", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is yarn"),
        ("config.json", {"hidden_size": 48}, "no multiple of 32"),
        ("config.json", {"head_dim": 6}, "rows of 24 numbers are no multiple of 32"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Metaspace"}}, "not known here"),
    ],
)
def test_a_model_whose_gguf_would_differ_is_refused(
    tmp_path: Path, file: str, change: Mapping[str, object], why: str
) -> None:
    base = write_base(tmp_path / "base")
    content = json.loads((base / file).read_text()) | dict(change)
    (base / file).write_text(json.dumps(content))

    with pytest.raises(InvalidInput, match=why):
        write_gguf(base, tmp_path / "t.gguf", name="tiny@1", kind="q8_0")

    assert not (tmp_path / "t.gguf").exists()
