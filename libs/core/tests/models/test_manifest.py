import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.core.tests.models.artifact_folders import model_folder, safetensors
from tidemill_core.models.int8 import INT8
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest

SHA = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def test_a_manifest_names_every_file_by_path_size_and_sha256(folder: Path) -> None:
    manifest = Manifest.from_folder(folder)

    assert [file.path for file in manifest.files] == [
        "1_Pooling/config.json",
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "vocab.txt",
    ]
    empty = ArtifactFile("1_Pooling/config.json", 2, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    assert manifest.files[0] == empty
    assert manifest.total_bytes == sum(path.stat().st_size for path in folder.rglob("*.*") if path.is_file()) + 11
    manifest.verify(folder)


def test_the_digest_names_the_content_in_any_order(folder: Path) -> None:
    manifest = Manifest.from_folder(folder)
    assert Manifest(tuple(reversed(manifest.files))).digest == manifest.digest
    assert len(manifest.digest) == 64

    (folder / "vocab.txt").write_text("a\nc\n")
    assert Manifest.from_folder(folder).digest != manifest.digest


def damage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors(b"\1" * 64))


def shorten(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors(b"\0" * 63))


def remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def add(folder: Path) -> None:
    (folder / "added.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "path", "why"),
    [
        (damage, "model.safetensors", "is damaged"),
        (shorten, "model.safetensors", "is damaged"),
        (remove, "model.safetensors", "is missing"),
        (add, "added.json", "is not in the manifest"),
    ],
)
def test_a_folder_that_changed_is_refused_by_the_files_name(
    folder: Path, change: Callable[[Path], None], path: str, why: str
) -> None:
    manifest = Manifest.from_folder(folder)
    change(folder)

    with pytest.raises(ArtifactRefused, match=why) as caught:
        manifest.verify(folder)
    assert caught.value.path == path
    assert caught.value.violations[0].field == path


@pytest.mark.parametrize(
    "path",
    [
        "../model.safetensors",
        "a/../../b.json",
        "/etc/passwd.txt",
        "a//b.json",
        "./a.json",
        "a\\b.json",
        "a\0.json",
        "a\n.json",
        ".hidden.json",
        "a/.git/config.json",
        "C:/a.json",
        "",
        ".",
        "é.json",
        "a" * 130 + ".json",
    ],
)
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(ArtifactRefused):
        ArtifactFile(path, 1, SHA)


@pytest.mark.parametrize(
    "path",
    [
        "modeling.py",
        "pytorch_model.bin",
        "model.pt",
        "model.pth",
        "model.ckpt",
        "weights.pkl",
        "weights.pickle",
        "weights.npz",
        "model.h5",
        "model.onnx",
        "native.so",
        "setup.sh",
        "archive.zip",
        "model.safetensors.py",
        "LICENSE.py",
        "noending",
        "config.JSON",
    ],
)
def test_what_is_not_data_is_refused(path: str) -> None:
    with pytest.raises(ArtifactRefused, match="is not data"):
        ArtifactFile(path, 1, SHA)


@pytest.mark.parametrize(("size", "sha256"), [(-1, SHA), (1, ""), (1, "0" * 63), (1, "Z" * 64), (1, "A" * 64)])
def test_a_file_without_usable_size_and_sha256_is_refused(size: int, sha256: str) -> None:
    with pytest.raises(ArtifactRefused):
        ArtifactFile("a.json", size, sha256)


def test_an_empty_manifest_and_a_file_twice_are_refused() -> None:
    with pytest.raises(ArtifactRefused, match="no files"):
        Manifest([])
    with pytest.raises(ArtifactRefused, match="twice"):
        Manifest([ArtifactFile("Ab.json", 1, SHA), ArtifactFile("aB.json", 2, SHA)])


@pytest.mark.parametrize(
    "config",
    [
        '{"auto_map": {"AutoModel": "modeling.Evil"}}',
        '{"text_config": [{"auto_map": {}}]}',
        '{"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}',
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "1_Pooling/config.json"])
def test_a_config_that_names_code_is_refused_however_deep_it_says_so(folder: Path, name: str, config: str) -> None:
    (folder / name).write_text(config)

    with pytest.raises(ArtifactRefused, match="names code to run") as caught:
        Manifest.from_folder(folder)
    assert caught.value.path == name


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ('{"_attn_implementation": "kernels-community/evil"}', "names code to fetch"),
        ('{"text_config": {"attn_implementation": {"": "a/b"}}}', "names code to fetch"),
        ('{"quantization_config": {}}', "of another format than ours"),
        ('{"text_config": {"quantization_config": {"quant_method": "x"}}}', "of another format than ours"),
        (" " * 2**20 + "{}", "the limit is 1048576"),
    ],
    ids=("kernel", "deep", "quantized", "deeply quantized", "large"),
)
def test_a_config_that_asks_for_more_than_data_is_refused(folder: Path, config: str, why: str) -> None:
    (folder / "config.json").write_text(config)

    with pytest.raises(ArtifactRefused, match=why):
        Manifest.from_folder(folder)


def test_a_config_may_say_that_its_weights_are_int8_in_our_format(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"quantization_config": dict(INT8)}))

    assert Manifest.from_folder(folder).digest


@pytest.mark.parametrize("config", [{"quantization_config": None}, {"text_config": {"quantization_config": None}}])
def test_a_config_may_say_that_its_weights_are_not_quantized(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))

    assert Manifest.from_folder(folder).digest


def test_a_config_may_prefer_what_transformers_has_itself(folder: Path) -> None:
    (folder / "config.json").write_text('{"_attn_implementation": "flash_attention_2"}')

    assert Manifest.from_folder(folder).digest


def test_a_tokenizer_with_a_pattern_that_may_take_for_ever_is_refused(folder: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "^(a|a)*$"}}
    (folder / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": split}))

    with pytest.raises(ArtifactRefused, match=r"tokenizer\.json: a pattern repeats a group"):
        Manifest.from_folder(folder)


@pytest.mark.parametrize("content", ["{", "[" * 200_000, "\udcff"])
def test_a_config_that_is_not_json_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises(ArtifactRefused, match="is not JSON"):
        Manifest.from_folder(folder)


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "config.json", "README.md"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_the_name_of_data_is_refused(folder: Path, name: str, protocol: int) -> None:
    (folder / name).write_bytes(pickle.dumps({"weights": [1]}, protocol=protocol))

    with pytest.raises(ArtifactRefused, match="is a pickle") as caught:
        Manifest.from_folder(folder)
    assert caught.value.path == name


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1]),
        b"",
        b"\x08\0\0\0\0\0\0\0",
        (1 << 40).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_weights_that_are_not_safetensors_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)

    with pytest.raises(ArtifactRefused, match="is not in the safetensors format"):
        Manifest.from_folder(folder)


def test_python_in_a_folder_is_refused(folder: Path) -> None:
    (folder / "modeling.py").write_text("print('loaded')")

    with pytest.raises(ArtifactRefused) as caught:
        Manifest.from_folder(folder)
    assert caught.value.path == "modeling.py"


def test_a_link_is_refused_wherever_it_leads(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (folder / "linked.json").symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(ArtifactRefused, match="is a link") as caught:
        Manifest.from_folder(folder)
    assert caught.value.path == "linked.json"


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "onnx").symlink_to(model_folder(tmp_path / "other"))

    with pytest.raises(ArtifactRefused, match="is a link") as caught:
        Manifest.from_folder(folder)
    assert caught.value.path == "onnx"


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match="no files"):
        Manifest.from_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    "module",
    [
        "tidemill_core.aggregate",
        "tidemill_core.application",
        "tidemill_core.errors",
        "tidemill_core.paging",
        "tidemill_core.models.manifest",
    ],
)
def test_what_domains_and_use_cases_import_knows_no_transport(module: str) -> None:
    transports = {"grpc", "faststream", "aiokafka", "motor", "pymongo", "bson", "minio", "pydantic", "structlog"}
    script = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    imported = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own

    assert transports.isdisjoint(imported.stdout.split())
