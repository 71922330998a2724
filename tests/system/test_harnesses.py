"""garak and lm-evaluation-harness ask a deployment of SmolLM2; run by `make verify`, or with TIDEMILL_HARNESSES=1."""

import json
import os
from pathlib import Path

import pytest

from tests.system.running import ROOT, Platform
from tidemill_client.connection import Addresses
from tidemill_testkit.stack import unique_name

LOOP = """\
apiVersion: tidemill.dev/v1
kind: Loop
metadata: {{name: probed}}
models:
  smollm2: {{source: "file:{model}"}}
prompts:
  plain: {{user: "{{{{ question }}}}"}}
deployments:
  probed:
    model: smollm2
    prompt: plain
    sampling: {{temperature: 0.0, max_output_tokens: 24}}
suites:
  capitals: {{cases: {{file: capitals.jsonl}}}}
"""
CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid"}


@pytest.mark.skipif(os.environ.get("TIDEMILL_HARNESSES") != "1", reason="TIDEMILL_HARNESSES is not 1")
@pytest.mark.timeout(1800)
def test_public_harnesses_are_run_against_a_deployment_and_recorded(stack_folder: Path, tmp_path: Path) -> None:
    platform = Platform(stack_folder, Addresses.find(stack_folder.parent), unique_name("harness"))
    cases = [
        {"id": land, "question": f"What is the capital of {land}?", "reference": capital}
        for land, capital in CAPITALS.items()
    ]
    (tmp_path / "capitals.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    loop = tmp_path / "loop.yaml"
    loop.write_text(LOOP.format(model=ROOT / ".tidemill" / "models" / "smollm2"), encoding="utf-8")
    applied = platform.tidemill("apply", "-f", str(loop))
    assert applied.code == 0, applied.output + applied.errors
    answered = platform.tidemill("ask", "What is here?", "--deployment", "probed")
    assert answered.code == 0, answered.output + answered.errors

    harness = ("evaluations", "harness")
    probes = ("--probe", "dan.Dan_11_0", "--probe", "encoding.InjectBase64", "--max-prompts", "3")
    garak = platform.tidemill(*harness, "garak", "probed", *probes, "--time-limit", "240", "--json")
    lm_eval = platform.tidemill(*harness, "lm-eval", "probed", "-s", "capitals", "--time-limit", "240", "--json")
    both = [garak.data, lm_eval.data]
    compared = platform.tidemill(*harness, "compare", both[1]["id"], both[1]["id"], "--json")
    listed = platform.tidemill(*harness, "list", "--deployment", "probed", "--json")

    assert [each["state"] for each in both] == ["HARNESS_RUN_STATE_COMPLETED"] * 2, both
    assert {each["model"] for each in both} == {"smollm2@1"}
    assert [each["id"] for each in listed.data["runs"]] == [each["id"] for each in both]
    assert {each["test"] for each in both[0]["scores"]} == {"dan.Dan_11_0", "encoding.InjectBase64"}
    totals = {each["metric"]: (each.get("passed", 0), each["total"]) for each in both[1]["scores"]}
    assert totals["contains"][1] == len(CAPITALS)
    assert len(compared.data["comparisons"]) == 2
    print(json.dumps([each["scores"] for each in both], indent=1))  # noqa: T201 - what was found
