"""Where things are: in the repository, and in the folder of one stack."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tidemill_kit.access.installation import AccessFiles
from tidemill_kit.events.passwords import PasswordFiles

ROOT = Path(__file__).resolve().parents[4]
"""The repository: this package is installed editable and never published."""

HOME = ROOT / ".tidemill"
"""The folder of the stack that `make up` starts; jars and models in it are shared by every other stack."""

ACLS = ROOT / "infra" / "kafka" / "acls.txt"
"""Who may read and write which topic."""

VLLM_PYTHON = ROOT / "services" / "inference" / "engines" / "vllm" / ".venv" / "bin" / "python"
"""Is there once `make setup ENGINE=vllm` has made vLLM's environment."""

JARS = Path(os.environ.get("TIDEMILL_JARS", HOME / "jars"))
MODELS = Path(os.environ.get("TIDEMILL_MODELS", HOME / "models"))

LONGEST_SOCKET = 100
"""Linux takes 107 bytes for the path of a Unix socket; weed's socket names need no more than the folder's."""


@dataclass(frozen=True, slots=True)
class StackFolder:
    """The layout of one stack's folder."""

    root: Path

    @property
    def addresses(self) -> Path:
        """What clients read to find the servers: there while the stack is up."""
        return self.root / "stack.json"

    @property
    def choices(self) -> Path:
        """Ports, keys and ids chosen at the first start and kept for the next ones."""
        return self.root / "choices.json"

    @property
    def lock(self) -> Path:
        """Held by the process that starts or stops this stack."""
        return self.root / "stack.lock"

    @property
    def config(self) -> Path:
        """The written settings of the programs."""
        return self.root / "config"

    @property
    def access(self) -> AccessFiles:
        """The key that tokens are signed with, and the tokens of the services and of the admin."""
        return AccessFiles(self.config / "access")

    @property
    def kafka_passwords(self) -> PasswordFiles:
        """The passwords of Kafka's users."""
        return PasswordFiles(self.config / "kafka")

    def data(self, program: str) -> Path:
        """Return the folder of a program's own data."""
        return self.root / "data" / program

    def log(self, program: str) -> Path:
        """Return the file of what a program prints."""
        return self.root / "logs" / f"{program}.log"

    def socket(self, name: str) -> Path:
        """Return a short enough path for a Unix socket of this stack."""
        path = self.root / "run" / f"{name}.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET:
            return path
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tidemill-{os.getuid()}-{digest}" / f"{name}.sock"

    def prepare(self) -> None:
        """Create the folders, readable by their owner only."""
        for folder in (self.root, self.config, self.root / "data", self.root / "logs", self.socket("x").parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
