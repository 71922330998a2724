"""A person logs in at a real OpenID provider, by the device flow.

It is an npm package: `npm install oidc-provider@9` in a folder, and TIDEMILL_OIDC_PROVIDER names the folder.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import httpx2
import pytest

from services.monitor.tests.process.test_process import MonitorProcess
from tidemill.monitor.v1 import access_pb2
from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub
from tidemill_cli.login import Provider
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.ports import free_port
from tidemill_testkit.stack import unique_name

PACKAGE = os.environ.get("TIDEMILL_OIDC_PROVIDER", "")
PROGRAM = Path(__file__).parent / "openid_provider.mjs"

pytestmark = pytest.mark.skipif(not PACKAGE, reason="TIDEMILL_OIDC_PROVIDER names no folder with oidc-provider")


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    port = free_port()
    command = ["node", str(PROGRAM), str(port)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PACKAGE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    while b"listening" not in (line := await process.stdout.readline()):
        assert line, "it has ended"
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    await process.wait()


@pytest.fixture
async def monitor(
    issuer: str, stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MonitorProcess]:
    monkeypatch.setenv("MONITOR_IDENTITY_PROVIDER", issuer)
    monkeypatch.setenv("MONITOR_IDENTITY_CLIENT_ID", "tidemill-cli")
    process = MonitorProcess(stack=stack, folder=tmp_path)
    await asyncio.to_thread(process.start)
    yield process
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


async def confirm(address: str, name: str) -> None:
    """Do as a person with a browser does: confirm the code, log in, and agree."""
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(address)
        while form := re.search(r"<form[^>]*>.*?</form>", page.text, re.DOTALL):
            inputs = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in re.findall(r"<input[^>]*>", form[0])]
            fields = {each["name"]: each.get("value", "") for each in inputs if "name" in each}
            fields |= {"login": name, "password": name} if "login" in fields else {}
            action = re.search(r'action="([^"]*)"', form[0])
            page = await browser.post(urljoin(str(page.url), action[1] if action else ""), data=fields)


async def test_a_person_who_confirms_gets_a_token_of_the_project(monitor: MonitorProcess, issuer: str) -> None:
    project = unique_name("acme").replace("_", "-")
    async with (
        admin_channel(f"127.0.0.1:{monitor.port}", project=project) as channel,
        httpx2.AsyncClient(follow_redirects=False) as http,
    ):
        stub = AccessServiceStub(channel)
        await stub.CreateProject(pb.CreateProjectRequest(project=access_pb2.Project(id=project), admin="user:ada"))
        await stub.CreateMember(
            pb.CreateMemberRequest(member=access_pb2.Member(subject="group:staff", roles=["viewer"]))
        )
        configured = await stub.GetAccessConfiguration(pb.GetAccessConfigurationRequest())
        provider = Provider(http, configured.identity_provider, configured.client_id)
        code = await provider.begin()
        await confirm(code.address, "ada")
        request = pb.ExchangeTokenRequest(subject_token=await provider.id_token(code), project=project)
        exchanged = await stub.ExchangeToken(request)

    assert configured.identity_provider == issuer
    assert (exchanged.subject, sorted(exchanged.roles)) == ("user:ada", ["admin", "viewer"])
