import subprocess
import sys

from tidemill_ingest.processes import IMPORTS

LIBRARIES = ("detect_secrets", "html_to_markdown", "phonenumbers", "stdnum")
OF_SINGLE_FORMATS = ("mammoth", "pptx", "pypdfium2", "python_calamine", "striprtf")


def imported_with(*modules: str) -> list[str]:
    known = LIBRARIES + OF_SINGLE_FORMATS
    script = f"import sys, {', '.join(modules)}; print(*(each for each in {known!r} if each in sys.modules))"
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_the_libraries_of_extraction_and_masking_are_imported_by_its_processes_alone() -> None:

    assert imported_with("tidemill_ingest.__main__") == []
    assert imported_with(*IMPORTS) == [*LIBRARIES]


def test_a_process_imports_the_library_of_a_format_with_its_first_document() -> None:
    assert imported_with(*IMPORTS, "tidemill_ingest.parsing.pdf") == [*LIBRARIES, "pypdfium2"]
