import subprocess
import sys


def test_a_registry_needs_no_machine_learning_library_in_memory() -> None:
    program = "import sys, tidemill_trainer.app; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "set()"
