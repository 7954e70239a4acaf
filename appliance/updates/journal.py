"""The open update, written down before anything durable is done for it: what to finish or to undo after a crash.

Invariant: there is at most one open update; its file appears and changes by one rename, and goes last.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.signed_document import SignedDocument
from appliance.durable import disk_errors, fsync_directory, make_directory, write_file
from appliance.errors import Failed, InvalidInput
from appliance.model.identity import Digest
from appliance.registry.ticket_records import TicketRecord

UpdateStage = Literal["STAGE", "COMMIT", "ROLL_BACK"]


class OpenUpdate(SignedDocument):
    """How far an update is.

    STAGE: content arrives, nothing else has changed. COMMIT: the registry knows the ticket, or soon will. ROLL_BACK:
    an operator takes the ticket back. keep: content that garbage collection must leave alone, as digests.
    settings_before, settings_after: as in the ticket's record.
    """

    title: ClassVar[str] = "the journal of the open update"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    stage: UpdateStage
    ticket_id: str
    ticket_digest: str
    seq: int
    settings_before: str = ""
    settings_after: str = ""
    software: str = ""  # digest of the tree that it put into a slot
    place: str = ""  # where the receipt goes that is written after a restart
    keep: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        stage: UpdateStage,
        record: TicketRecord,
        keep: Iterable[Digest] = (),
        *,
        software: str = "",
        place: str = "",
    ) -> "OpenUpdate":
        """Write down what becomes of a ticket; `keep`: content that it brings."""
        return cls(
            stage=stage,
            software=software,
            place=place,
            ticket_id=record.id,
            ticket_digest=record.digest,
            seq=record.seq,
            settings_before=record.settings_before,
            settings_after=record.settings_after,
            keep=tuple(sorted(keep)),
        )


class Journal:
    """The file `journal.json` of one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "journal.json"

    def read(self) -> OpenUpdate | None:
        """Return the open update, or None. Raises Failed if the file cannot be understood."""
        with disk_errors("reading the journal of updates"):
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            return OpenUpdate.parse(data)
        except InvalidInput as error:
            raise Failed(
                f"{self._path} is damaged: {error.message}",
                hint=f"keep a copy of it for the report, remove it, and insert the stick again: rm {self._path}",
            ) from error

    def write(self, update: OpenUpdate) -> None:
        """Write it down, durably."""
        with disk_errors("writing the journal of updates"):
            make_directory(self._directory)
            write_file(self._path, update.to_bytes(), mode=0o600)

    def close(self) -> None:
        """The update has ended, whichever way; no error if there is none."""
        with disk_errors("closing the journal of updates"):
            self._path.unlink(missing_ok=True)
            if self._directory.is_dir():
                fsync_directory(self._directory)
