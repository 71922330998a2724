"""The health check of a container, by plain text and by TLS."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import trustme

from libs.kit.tests.grpc.support import serving, sources


def health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", Path(__file__).parents[1] / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("secure", [False, True], ids=["plain text", "tls"])
async def test_a_service_that_is_ready_is_healthy(
    secure: bool,  # noqa: FBT001 - a parameter of a test
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("tls_ca_file", "tls_cert_file", "tls_key_file")}
    if secure:
        authority = trustme.CA()
        pair = authority.issue_cert("probe.example", "localhost")
        authority.cert_pem.write_to_path(str(files["tls_ca_file"]))
        pair.cert_chain_pems[0].write_to_path(str(files["tls_cert_file"]))
        pair.private_key_pem.write_to_path(str(files["tls_key_file"]))
    changes: dict[str, object] = {**files, "tls_client_auth": True} if secure else {}
    async with serving(sources(), **changes) as running:
        monkeypatch.setenv("SERVICE", "probe")
        monkeypatch.setenv("PROBE_GRPC_PORT", str(running.server.port))
        for name, path in (files if secure else {}).items():
            monkeypatch.setenv(f"PROBE_{name}".upper(), str(path))

        assert await asyncio.to_thread(health().main) == 1
        await running.server.set_ready(True)
        assert await asyncio.to_thread(health().main) == 0
