from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.cli.tests.loop.running import Running, Server
from tidemill_client.connection import Connection
from tidemill_testkit.access import admin_token

LOOP = """\
apiVersion: tidemill.dev/v1
kind: Loop
metadata: {name: helpdesk, labels: {team: support}}
sources:
  cms: {mask: none}
models:
  small: {source: "openai:small", base_url: "https://api.example/v1"}
collections:
  handbook: {sources: [cms], embedding: small}
prompts:
  answer: {user: "{{ question }}"}
deployments:
  helpdesk:
    model: {follow: helpdesk_lora, start_with: small}
    prompt: answer
    retrieval: {collection: handbook}
prices:
  own: {model: small, output: 1}
budgets:
  daily: {window: day, cost: 5}
metrics:
  reopened: {kind: boolean, optimise: min, value: {unit: EUR, of: -12.5}}
reviews:
  answers:
    fields: {correct: {kind: boolean, required: true}}
    sampling: {deployment: helpdesk, strategy: uncertain}
datasets:
  helpdesk_sft:
    examples: {deployment: helpdesk, feedback: [correction], per_user_at_most: 20}
    publish: {new_examples: 100, at_latest_every: 7d, at_least: 50}
    held_out: {share: 0.3, group_by: question}
training:
  helpdesk_lora:
    dataset: helpdesk_sft
    base: small
    method: sft
    lora: {r: 8, lora_alpha: 16, target_modules: all-linear}
    args: {learning_rate: 1.0e-3, max_steps: 48, seed: 7}
    limits: {time: 30m, memory: 6Gi}
suites:
  truth: {cases: {file: truth.jsonl}}
judges:
  tone: {deployment: helpdesk, rubric: "Is it friendly?", criteria: {tone: {scale: 3}}, reads: [reference]}
gates:
  helpdesk_gate:
    candidate: helpdesk_lora
    baseline: live
    confidence: 0.95
    require:
      - {cases: {dataset: helpdesk_sft, split: held_out, at_least: 40}, metric: rouge_l, gain_above: 0.0}
      - {cases: {suite: truth}, metric: rouge_l, gain_above: -0.02}
rollouts:
  helpdesk:
    deployment: helpdesk
    gate: helpdesk_gate
    sticky_by: end_user
    steps:
      - {shadow: true, requests: 10}
      - {weight: 50, requests: 40, at_least: 15, at_most: 24h}
    abort: {error_rate: {above: 0.02}, latency_p95: {ratio_above: 1.5}, rating: {loss_above: 0.02}}
    on_timeout: hold
    approval: {role: operator, count: 0}
experiments:
  tone:
    deployment: helpdesk
    arms: {now: {control: true}, warm: {sampling: {temperature: 0.8}}}
    goal: {metric: reopened}
    guardrails: [{measure: latency, worst: 4, loss_above: 0.1}]
    weighting: adaptive
"""
TRUTH = """\
{"id": "q1", "question": "What does abs do?", "reference": "Return the absolute value.", "labels": {"of": "builtins"}}

{"id": "q2", "question": "What does len do?", "reference": "Return the number of items."}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A loop.yaml with every section."""
    (tmp_path / "truth.jsonl").write_text(TRUTH)
    (tmp_path / "loop.yaml").write_text(LOOP)
    return tmp_path / "loop.yaml"


@pytest.fixture
async def running(server: Server) -> AsyncIterator[Running]:
    services = Running()
    services.start(server)
    yield services
    services.stop()


@pytest.fixture
async def connection(running: Running) -> AsyncIterator[Connection]:
    async with Connection("acme", running.addresses(), credential=admin_token) as opened:
        yield opened
