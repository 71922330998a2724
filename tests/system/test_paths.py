"""Path-like values in every text field of every RPC: nothing is written where they lead."""

import os
import sys
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from tests.system.calls import METHODS, Calls
from tests.system.generated import PATHS
from tests.system.harvest import Harvest
from tests.system.probes import ways, with_text
from tests.system.running import ROOT, Platform, objects_of

MARK = f"escape-{uuid4().hex}"
LEADING_OUT = (
    f"../../../{MARK}",
    f"/tmp/{MARK}",  # noqa: S108 - where nothing may come
    f"..%2f..%2f{MARK}",
    f"..\\..\\{MARK}",
    f"a/../../{MARK}",
    f"{MARK}\0.safetensors",
)
WHOLE = "TIDEMILL_GENERATED_CASES" in os.environ
"""All values in each field; tests send one in each third field."""

pytestmark = pytest.mark.timeout(7200 if WHOLE else 600)  # the first test waits for a turn of the loop


def test_no_value_leads_out_of_its_place(filled: Platform, calls: Calls, harvest: Harvest) -> None:
    places = [(name, way) for name in METHODS for way in ways(METHODS[name].input_type)][:: 1 if WHOLE else 3]
    codes = Counter[str]()
    for number, (name, way) in enumerate(places):
        given = (*LEADING_OUT, *PATHS) if WHOLE else [LEADING_OUT[number % len(LEADING_OUT)]]
        for value in given:
            codes[calls(name, with_text(harvest.sound(METHODS[name])[0], way, value)).code] += 1

    sys.stdout.write(f"{codes.total()} path-like values in {len(places)} fields: {dict(codes)}\n")
    keys = [key for key in objects_of(filled) if MARK in key]
    assert [key for key in keys if {"..", "."} & set(key.split("/")) or "\\" in key or key.startswith("/")] == []
    assert [key for key in keys if not key.startswith(f"{filled.project}/")] == []
    folders = [filled.folder, *filled.folder.parents, ROOT, Path.cwd(), Path("/tmp"), Path("/")]  # noqa: S108 - ditto
    assert [found for folder in folders for found in folder.glob(f"*{MARK}*")] == []
    assert list((filled.folder / "data").rglob(f"*{MARK}*")) == []
