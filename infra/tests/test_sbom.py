import importlib.util
from pathlib import Path

from tidemill_local.jars import Jar

ROOT = Path(__file__).resolve().parents[2]


def test_a_jar_is_a_component_with_its_hash_and_stands_once() -> None:
    spec = importlib.util.spec_from_file_location("tidemill_sbom", ROOT / "infra" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    jar = Jar("kafka", "org.example:thing:1.0", "ab12", 3)

    (component,) = sbom.jar_components([jar, Jar("mongo", "org.example:thing:1.0", "ab12", 3)])

    assert component["purl"] == "pkg:maven/org.example/thing@1.0?type=jar"
    assert component["hashes"] == [{"alg": "SHA-256", "content": "ab12"}]


def test_the_licence_that_packages_name_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert (ROOT / "NOTICE").is_file()
    assert (ROOT / "SECURITY.md").is_file()
