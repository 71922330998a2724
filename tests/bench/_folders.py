"""Where benches write what they make."""

from argparse import ArgumentParser
from pathlib import Path


def refuse_filled(parser: ArgumentParser, folder: Path) -> None:
    """End the command where a model would be written over what is in a folder, such as one that was downloaded."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        parser.error(
            f"folder is {folder}, which is not empty, and is not overwritten: give --measure, or another folder"
        )
