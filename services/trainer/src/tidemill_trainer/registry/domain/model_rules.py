"""Checks of a model before any file is uploaded."""

from collections.abc import Sequence

from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, refuse_unknown_json
from tidemill_trainer.errors import SourceRefused


def check_model_files(paths: Sequence[str]) -> None:
    """Check that the files form a loadable model.

    Raises:
        ArtifactRefused: one is JSON that no model is loaded by.
        SourceRefused: says which file is missing.

    """
    if "config.json" not in paths:
        message = "config.json is missing at the top level: the folder is not a model's"
        raise SourceRefused(message)
    if not any(path.endswith(".safetensors") for path in paths):
        message = "there is no *.safetensors: save the weights in this format (transformers' save_pretrained)"
        raise SourceRefused(message)
    for path in paths:
        refuse_unknown_json(path)


def is_data(path: str) -> bool:
    """Return whether a file of this name is allowed in a model."""
    try:
        ArtifactFile(path, size=0, sha256="0" * 64)
        refuse_unknown_json(path)
    except ArtifactRefused:
        return False
    return True
