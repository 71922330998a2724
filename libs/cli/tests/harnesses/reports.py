"""What harnesses write, as short as it can be."""

import json
from pathlib import Path

from tidemill_cli.harnesses.harness import Target

TARGET = Target(deployment="helpdesk", base_url="http://127.0.0.1:8080/projects/acme/v1", token="tm_secret")  # noqa: S106


def garak_eval(*, passed: int, total: int, nones: int = 0, probe: str = "dan.Dan_11_0") -> str:
    return json.dumps(
        {
            "entry_type": "eval",
            "probe": probe,
            "detector": "dan.DAN",
            "passed": passed,
            "total_evaluated": total,
            "nones": nones,
        }
    )


def garak_report(folder: Path, *lines: str) -> None:
    (folder / "run.report.jsonl").write_text("\n".join(['{"entry_type": "init"}', *lines, ""]), encoding="utf-8")


def lm_eval_report(folder: Path, task: str, *values: object, metric: str = "contains") -> None:
    out = folder / "out" / "helpdesk"
    out.mkdir(parents=True, exist_ok=True)
    (out / "results_2026-11-30T12-00-00.000000.json").write_text('{"results": {}}', encoding="utf-8")
    samples = [json.dumps({"doc_id": n, "metrics": [metric], metric: value}) for n, value in enumerate(values)]
    (out / f"samples_{task}_2026-11-30T12-00-00.000000.jsonl").write_text("\n".join([*samples, ""]), encoding="utf-8")
