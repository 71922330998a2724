"""Settings of ingest; every name is INGEST_ plus the field's in upper case."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from tidemill_ingest.limits import COMMON_FROM, ConversionLimits, Limits, Ocr, OriginLimits
from tidemill_ingest.quality.boilerplate import BoilerplateRules
from tidemill_kit.grpc.uploads import Patience
from tidemill_kit.runtime.encryption import EncryptionSettings
from tidemill_kit.runtime.separated import Separated
from tidemill_kit.runtime.settings import ServiceSettings

_LIMITS = Limits()
_CONVERSION = _LIMITS.conversion
_ORIGIN = OriginLimits()
_OCR_SHARE = 0.8
"""Of the time that a document has: the rest is for drawing its pages, and for masking what they say."""


class IngestSettings(EncryptionSettings, ServiceSettings):
    """Settings of ingest. Limits are measured in bytes or characters, as they say."""

    model_config = SettingsConfigDict(env_prefix="INGEST_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_datasets": "dataset_max_concurrent",
        "dataset_retry_s": "dataset_poll_interval_s",
        "sweep_every_s": "sweep_poll_interval_s",
        "dataset_lease_s": "lease_ttl_s",
    }

    mongo_database: str = "ingest"
    """The database, which belongs to ingest alone."""
    submission_topics: Separated = ("tidemill.ingest.submission.v1",)
    """The topics of submissions, joined by commas: the common one, and those of single sources."""
    submission_tolerance_s: float = Field(300.0, gt=0)
    """How far the signed time of a submission may be from its record's."""
    curation_topics: Separated = ("tidemill.feedback.curation.v1",)
    """The topics of completed curations, joined by commas."""
    review_topics: Separated = ("tidemill.feedback.review.v1",)
    """The topics of resolved review items, joined by commas."""
    quarantine_bucket: str = "tidemill-ingest-quarantine"
    """The private bucket of what is not masked yet; only ingest may read it."""
    exchange_bucket: str = "tidemill-ingest-exchange"
    """The bucket of masked texts, which other services read."""
    datasets_bucket: str = "tidemill-ingest-datasets"
    """The bucket of the parts of dataset versions, which other services read."""
    feedback_exchange_bucket: str = "tidemill-feedback-exchange"
    """The bucket from which completed curations are read."""
    quarantine_hours: int = Field(24, ge=1)
    """How long a crash can leave something in quarantine."""
    sweep_poll_interval_s: float = Field(3600.0, gt=0)
    """The pause between two sweeps of the buckets."""
    sweep_documents: int = Field(50_000, ge=1)
    """How many documents one sweep goes through; the next one goes on there."""
    garbage_after_hours: float = Field(24.0, ge=1)
    """How long an object without a version stays; longer than any submission takes."""
    preparation_workers: int = Field(2, ge=1, le=64)
    """Processes that extract and mask; one of them is never for the project alone that uses the others."""
    preparation_cpu_s: float = Field(30.0, gt=0)
    """The processor's time that extracting and masking one document may take; it is refused beyond."""
    quality_poll_interval_s: float = Field(5.0, gt=0)
    """The resync interval: how often sources are searched for whose rules of quality changed."""
    profile_days: int = Field(400, ge=0, le=4000)
    """How many days of a source's profile are kept; 0 keeps no profiles, and measures nothing for them."""
    profile_poll_interval_s: float = Field(5.0, gt=0)
    """The resync interval: how often sources are searched for versions that are to be counted."""
    preparation_wall_s: float = Field(300.0, gt=0)
    """How long that may take in all, on a machine however busy."""
    trainer_address: str = ""
    """The gRPC host:port of trainer, whose registry has models that find names; without it no source has one."""
    feedback_address: str = ""
    """The gRPC host:port of feedback; without it, label rules of datasets are not compared with its review queues."""
    trainer_bucket: str = "tidemill-trainer-exchange"
    """The bucket that models are read from."""
    data_dir: Path = Path()
    """A directory that no other process uses: downloaded models."""
    names_workers: int = Field(1, ge=1, le=64)
    """Processes that find names, each with a model in memory while it has work."""
    names_cpu_s: float = Field(120.0, gt=0)
    """The processor's time that finding names in one document may take, loading the model included."""
    names_wall_s: float = Field(600.0, gt=0)
    """How long that may take in all, on a machine however busy."""
    names_memory_mb: int = Field(8192, ge=1024)
    """Address space of such a process."""
    names_model_bytes: int = Field(2 * 1024**3, ge=1)
    """Weights of a model that finds names; a larger one is refused."""
    phone_regions: Separated = ("US", "GB", "DE", "FR")
    """The regions (CLDR, joined by commas) whose national way of writing phone numbers is masked too."""
    max_concurrent_uploads: int = Field(4, ge=1)
    """Uploads in memory at the same time; further ones wait."""
    uploads_of_project: int = Field(64, ge=1)
    """Uploads of one project that are received or wait; further ones are refused for now."""
    upload_idle_s: float = Field(30.0, gt=0)
    """How long an upload may pause."""
    upload_whole_s: float = Field(300.0, gt=0)
    """How long an upload may take in all, once it has its place."""
    max_sources: int = Field(1000, ge=1)
    """The most sources of a project."""
    max_datasets: int = Field(1000, ge=1)
    """The most datasets of a project."""
    max_document_bytes: int = Field(_LIMITS.document_bytes, ge=1)
    """The largest document by upload."""
    max_inline_bytes: int = Field(_LIMITS.inline_bytes, ge=1)
    """The largest document by CreateDocument and UpdateDocument; below max_message_bytes."""
    max_record_bytes: int = Field(_LIMITS.record_bytes, ge=1)
    """The largest value of a submission record."""
    max_key_length: int = Field(_LIMITS.key_length, ge=1, le=4096)
    """The longest key of a document."""
    max_title_length: int = Field(_LIMITS.title_length, ge=1)
    """The longest title that is taken."""
    max_metadata_entries: int = Field(_LIMITS.metadata_entries, ge=0)
    """The most facts about one document."""
    max_metadata_bytes: int = Field(_LIMITS.metadata_bytes, ge=2)
    """The most bytes of all of them as JSON."""
    kept_versions: int = Field(_LIMITS.kept_versions, ge=1, le=500)
    """The versions that a document remembers; older ones are forgotten, with their text."""
    kept_steps: int = Field(_LIMITS.kept_steps, ge=1, le=1000)
    """The steps of its way that a document remembers."""

    max_text_bytes: int = Field(_CONVERSION.text_bytes, ge=1)
    """The most text, in UTF-8, that a file may be converted to."""
    max_pages: int = Field(_CONVERSION.pages, ge=1)
    """The most pages, slides or chapters of a file."""
    max_anchors: int = Field(_CONVERSION.anchors, ge=1)
    """The most places of a document that are remembered; of more rows, every nth one is."""
    max_container_files: int = Field(_CONVERSION.entries, ge=1)
    """The most files in a container, such as an office document or an archive."""
    max_inflated_bytes: int = Field(_CONVERSION.inflated_bytes, ge=1)
    """The most bytes that all files in a container have when inflated."""
    max_part_bytes: int = Field(_CONVERSION.part_bytes, ge=1)
    """The most bytes that one of them has, if it is read."""
    max_inflation: int = Field(_CONVERSION.ratio, ge=1)
    """How many times its compressed size one of more than a megabyte may have when inflated."""
    max_measured_characters: int = Field(_CONVERSION.measured_characters, ge=1000)
    """The most characters of a text, from its start, that rules of quality are about."""
    max_pseudonyms: int = Field(_LIMITS.pseudonyms, ge=1, le=100_000)
    """The most different pseudonyms in a document; with more it is refused."""
    max_counted_blocks: int = Field(_CONVERSION.counted_blocks, ge=2, le=2000)
    """The most blocks of a text that are counted, half from its start and half from its end, to find boilerplate."""
    boilerplate_min_documents: int = Field(5, ge=2)
    """A block of text is boilerplate from that many documents of its source on that have it."""
    boilerplate_min_share: float = Field(0.1, ge=0, le=1)
    """A block of text is boilerplate only if that share of the counted documents of its source has it."""
    ocr_command: str = ""
    """The command of tesseract, which recognises the text of scans; without one they are refused."""
    ocr_languages: str = Field("eng", pattern=r"^[A-Za-z_]{2,20}(\+[A-Za-z_]{2,20}){0,9}$")
    """The languages that it recognises, as it names them, joined by `+`, such as `deu+eng`."""
    ocr_max_pages: int = Field(50, ge=1)
    """The most pages of one document that are recognised."""
    ocr_page_s: float = Field(30.0, gt=0)
    """How long recognising one page may take."""
    max_members: int = Field(_CONVERSION.members, ge=1, le=5000)
    """The most files in an archive, or attached to a mail, that become documents, with those in these."""
    max_unpacked_bytes: int = Field(_CONVERSION.unpacked_bytes, ge=1)
    """The most bytes that all of them have."""
    max_nesting: int = Field(_CONVERSION.nesting, ge=1, le=10)
    """How deep archives and mails may be in one another; 1 takes none that is in another."""
    unpack_poll_interval_s: float = Field(5.0, gt=0)
    """The resync interval: how often documents are searched for members that are to be read or deleted."""
    unpack_max_concurrent: int = Field(2, ge=1, le=64)
    """Archives and mails that are read at the same time; each has up to 26 MB in memory."""

    origin_allowed_hosts: Separated = ()
    """Hosts (`host` or `host:port`, joined by commas) that sources may be polled from wherever they are.

    Others need a public address and TLS.
    """
    secrets_dir: Path | None = None
    """A folder with a folder per project, whose files are the secrets that its sources name.

    A file NAME per secret, and a file NAME.hosts with the origins that it may be sent to. The variables
    INGEST_SECRET_<PROJECT>__<NAME> and ..._<NAME>__HOSTS win over them.
    """
    origin_max_files: int = Field(_ORIGIN.max_objects, ge=1, le=1_000_000)
    """The most files of one polled source; each takes about 300 bytes of memory while it is listed."""
    origin_timeout_s: float = Field(_ORIGIN.timeout_s, gt=0)
    """How long what a source is polled from may take to answer."""
    origin_wall_s: float = Field(_ORIGIN.wall_s, gt=0)
    """How long listing a bucket, or fetching one of its files, may take in all."""
    git_max_bytes: int = Field(_ORIGIN.max_pack_bytes, ge=1)
    """The most bytes of a repository's files, as they are sent: one commit without its history."""
    git_cpu_s: float = Field(120.0, gt=0)
    """The processor's time that fetching a repository, or one of its files, may take."""
    git_wall_s: float = Field(600.0, gt=0)
    """How long that may take in all."""
    git_memory_mb: int = Field(2048, ge=256)
    """Address space of the process that does."""
    polling_poll_interval_s: float = Field(5.0, gt=0)
    """The resync interval: how often sources are searched for that are due to be polled."""
    polling_max_concurrent: int = Field(4, ge=1, le=64)
    """Sources that are polled at the same time, from 4 on at most three quarters of them of one project.

    Each has up to four documents in memory.
    """

    max_batch_bytes: int = Field(_LIMITS.batch_bytes, ge=1)
    """The largest batch of examples of a completed curation."""
    max_batch_examples: int = Field(_LIMITS.batch_examples, ge=1)
    """The most examples in it."""
    max_waiting_offers: int = Field(_LIMITS.waiting_offers, ge=1, le=1000)
    """The completions that may wait for one dataset."""
    max_compared_examples: int = Field(_LIMITS.compared_examples, ge=1)
    """The most examples, of both versions together, that DiffDatasetVersions compares."""
    kept_dataset_versions: int = Field(_LIMITS.kept_dataset_versions, ge=1, le=5000)
    """The versions that a dataset remembers; older ones are forgotten, with their parts."""
    dataset_min_train: int = Field(10, ge=1)
    """With fewer examples to train on there is no version."""
    dataset_min_held_out: int = Field(4, ge=1)
    """With fewer held-out examples there is no version."""
    dataset_common_answers_from: int = Field(COMMON_FROM, ge=2)
    """An answer that so many different questions have is a common one: it may be learnt and held out as well."""
    dataset_hours: float = Field(24.0, ge=0)
    """How long the versions of a deleted dataset stay readable."""
    dataset_poll_interval_s: float = Field(5.0, gt=0)
    """The resync interval: how often datasets are searched for offers that wait."""
    dataset_max_concurrent: int = Field(2, ge=1, le=64)
    """Datasets that are worked on at the same time; their batches are in memory."""

    @property
    def patience(self) -> Patience:
        """How many uploads there may be, and how long one may take."""
        return Patience(
            max_concurrent=self.max_concurrent_uploads,
            of_project=self.uploads_of_project,
            idle_s=self.upload_idle_s,
            whole_s=self.upload_whole_s,
        )

    @property
    def boilerplate(self) -> BoilerplateRules:
        """From when on a block of text is boilerplate."""
        return BoilerplateRules(
            min_documents=self.boilerplate_min_documents,
            min_share=self.boilerplate_min_share,
        )

    @property
    def limits(self) -> Limits:
        """What submissions are measured against."""
        return Limits(
            document_bytes=self.max_document_bytes,
            inline_bytes=self.max_inline_bytes,
            record_bytes=self.max_record_bytes,
            key_length=self.max_key_length,
            title_length=self.max_title_length,
            metadata_entries=self.max_metadata_entries,
            metadata_bytes=self.max_metadata_bytes,
            pseudonyms=self.max_pseudonyms,
            kept_versions=self.kept_versions,
            kept_steps=self.kept_steps,
            batch_bytes=self.max_batch_bytes,
            batch_examples=self.max_batch_examples,
            waiting_offers=self.max_waiting_offers,
            compared_examples=self.max_compared_examples,
            conversion=ConversionLimits(
                text_bytes=self.max_text_bytes,
                pages=self.max_pages,
                anchors=self.max_anchors,
                entries=self.max_container_files,
                inflated_bytes=self.max_inflated_bytes,
                part_bytes=self.max_part_bytes,
                ratio=self.max_inflation,
                measured_characters=self.max_measured_characters,
                counted_blocks=self.max_counted_blocks,
                members=self.max_members,
                member_bytes=self.max_document_bytes,
                unpacked_bytes=self.max_unpacked_bytes,
                nesting=self.max_nesting,
                ocr=Ocr(
                    command=self.ocr_command,
                    languages=self.ocr_languages,
                    max_pages=self.ocr_max_pages,
                    page_s=self.ocr_page_s,
                    document_s=_OCR_SHARE * self.preparation_wall_s,
                ),
            ),
            kept_dataset_versions=self.kept_dataset_versions,
        )
