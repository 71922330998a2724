"""Files as messages of the contract."""

from tidemill.inference.v1 import file_pb2
from tidemill_core.errors import InvalidInput
from tidemill_inference.files.domain.stored_file import FilePurpose, StoredFile
from tidemill_kit.mapping import to_message


def file_message(file: StoredFile) -> file_pb2.File:
    """Return the whole resource, without where its bytes are."""
    return to_message(file_pb2.File, file)


def purpose_of(number: file_pb2.FilePurpose.ValueType) -> FilePurpose:
    """Return a purpose.

    Raises:
        InvalidInput: there is none of this number.

    """
    name = file_pb2.FilePurpose.Name(number) if number in file_pb2.FilePurpose.values() else ""
    try:
        return FilePurpose[name.removeprefix("FILE_PURPOSE_")]
    except KeyError:
        raise InvalidInput.at(field="purpose", text="is not supported: use FILE_PURPOSE_BATCH") from None
