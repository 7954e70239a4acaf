"""What happened on this box, in order, so that nobody can change it later without its being seen.

Each line names the digest of the one before; each is on the disk before `append` returns; the head, written after it,
shows where the log ends. What a power cut leaves is mended before the next line. Real damage is never mended: it is
written down, the log goes on behind the last line that the head names, and `verify` keeps naming the damage.

Size: files of `segment_bytes`; more than `most_segments` of them, and the oldest goes, after an entry that says so.
Any number of processes and threads may write: the directory's flock puts them in order. Events and short facts only,
never payloads. Whoever owns the box can rewrite all of it; then it differs from the heads on receipts and exports.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from appliance.bundle.moments import moment_text
from appliance.durable import disk_errors, exclusive_lock, make_directory, shared_lock
from appliance.errors import Failed, InvalidInput
from appliance.updates.audit_chain import AuditLine, Rest, chain_findings, judge_rest, readable_entry
from appliance.updates.audit_entry import (
    NO_LINE,
    AuditEntry,
    AuditEvent,
    AuditFact,
    AuditHead,
    bounded_facts,
    digest_of_line,
)
from appliance.updates.audit_export import ExportedLog, write_export
from appliance.updates.audit_files import AuditFiles, OpenSegment
from appliance.updates.device_store import DeviceStore

SEGMENT_BYTES = 4 * 1024 * 1024
MOST_SEGMENTS = 16  # 64 MiB together: about 200,000 entries
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NO_FACTS: Mapping[str, AuditFact] = {}


def this_boot() -> str:
    """Return the kernel's name of the time since it started."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise Failed(
            f"{_BOOT_ID} cannot be read: {error.strerror}", hint="examine this box: appliance doctor"
        ) from error


@dataclass(frozen=True, slots=True)
class _Snapshot:
    head: AuditHead | None
    head_problem: str
    segments: list[OpenSegment]

    def lines(self) -> Iterator[AuditLine]:
        for segment in self.segments:
            yield from segment.lines()


class AuditLog:
    """The log in one directory."""

    def __init__(
        self,
        directory: Path,
        now: Callable[[], datetime],
        *,
        boot_id: Callable[[], str] = this_boot,
        monotonic_s: Callable[[], float] = time.monotonic,
        segment_bytes: int = SEGMENT_BYTES,
        most_segments: int = MOST_SEGMENTS,
    ) -> None:
        assert most_segments >= 2, "the newest file and one more"  # noqa: PLR2004
        self._directory = directory
        self._files = AuditFiles(directory)
        self._now = now
        self._boot_id = boot_id
        self._monotonic_s = monotonic_s
        self._segment_bytes = segment_bytes
        self._most_segments = most_segments

    def append(self, event: AuditEvent, facts: Mapping[str, AuditFact] = _NO_FACTS) -> AuditHead:
        """Write an entry down and return the head that names it. Raises Failed if the disk does not take it.

        Waits for the disk, three times: never call it on an event loop.
        """
        with self._alone():
            head = self._write(self._mended(), event, facts)
            while len(segments := self._files.segments()) > self._most_segments:
                head = self._drop(head, segments[0])
            return head

    def recover(self) -> AuditHead:
        """Mend what a crash left: cut a torn line, move the head to a line that it could not name. Idempotent."""
        with self._alone():
            return self._mended()

    def head(self) -> AuditHead:
        """Return where the log ends; the seq is 0 if there is none. Raises Failed if the head is damaged."""
        with self._snapshot() as now:
            if now.head_problem:
                raise Failed(now.head_problem, hint="see what else is wrong: appliance audit verify")
            return now.head or AuditHead()

    def verify(self, witnesses: Collection[str] = ()) -> list[str]:
        """Check every line. Returns what was changed, deleted, moved, added or cut off; nothing if all is well.

        witnesses: digests that receipts show; each must be found.
        """
        with self._snapshot() as now:
            findings = chain_findings(now.lines(), now.head, witnesses)
        return [now.head_problem, *findings] if now.head_problem else findings

    def entries(self, last: int | None = None) -> list[AuditEntry]:
        """Return the entries, or the last so many of them, oldest first. Lines that are none are left out."""
        newest: deque[AuditEntry] = deque(maxlen=last)
        with self._snapshot() as now:
            newest.extend(entry for line in now.lines() if (entry := readable_entry(line.data)) is not None)
        return list(newest)

    def export(self, to: Path, device: DeviceStore) -> ExportedLog:
        """Write the log and a checkpoint signed by the box into a directory. Raises Failed, NotFound."""
        self.recover()
        with self._snapshot() as now:
            exported = write_export(to, now.lines(), now.head or AuditHead(), device, self._now())
        self.append(AuditEvent.AUDIT_EXPORTED, {"seq": exported.head.seq, "digest": exported.head.digest})
        return exported

    def _mended(self) -> AuditHead:
        try:
            head = self._files.read_head()
        except InvalidInput as error:
            return self._gone_on(self._last_readable(), error.message)
        if head is None and self._files.segments() not in ([], [1]):
            return self._gone_on(self._last_readable(), "head.json was missing")
        mended = self._behind(head or AuditHead())
        if mended is None:
            return self._gone_on(self._last_readable(), "head.json was missing")
        return mended

    def _behind(self, head: AuditHead) -> AuditHead | None:
        """Look at what follows the head. None if the head itself cannot be relied on."""
        here = self._files.size_bytes(head.segment)
        if head.seq and digest_of_line(self._files.line_before(head.segment, head.size_bytes)) != head.digest:
            reason = f"entry {head.seq} did not end at byte {head.size_bytes} of its file, which has {here}"
            return self._gone_on(head.model_copy(update={"size_bytes": here}), reason)
        segment, offset = head.segment, head.size_bytes
        if head.seq and self._files.path(head.seq + 1).exists() and here == offset:
            segment, offset = head.seq + 1, 0  # the next file was begun
        rest = self._files.read_from(segment, offset)
        at = head.model_copy(update={"segment": segment, "size_bytes": offset})
        match judge_rest(rest, head):
            case Rest.NOTHING:
                return at
            case Rest.ONE_ENTRY:
                return self._move_head(at, rest.removesuffix(b"\n"), offset + len(rest))
            case Rest.TORN:
                self._files.cut(segment, offset)
                return self._write(
                    at, AuditEvent.AUDIT_LINE_CUT, {"bytes": len(rest), "sha256": digest_of_line(rest)}
                )
        if head.seq == 0:
            return None
        return self._gone_on(
            at.model_copy(update={"size_bytes": self._files.size_bytes(segment)}),
            f"behind entry {head.seq} stood {len(rest)} bytes or more that this box did not write",
        )

    def _gone_on(self, at: AuditHead, reason: str) -> AuditHead:
        return self._write(at, AuditEvent.AUDIT_DAMAGED, {"reason": reason, "after": at.seq})

    def _last_readable(self) -> AuditHead:
        """Find where to go on without a head: behind the last line that is an entry."""
        head = AuditHead()
        with ExitStack() as stack:
            for line in chain.from_iterable(segment.lines() for segment in self._files.open_segments(stack)):
                if (entry := readable_entry(line.data)) is not None:
                    head = AuditHead(seq=entry.seq, digest=digest_of_line(line.data))
        segments = self._files.segments()
        segment = segments[-1] if segments else 1
        return head.model_copy(update={"segment": segment, "size_bytes": self._files.size_bytes(segment)})

    def _write(self, at: AuditHead, event: AuditEvent, facts: Mapping[str, AuditFact]) -> AuditHead:
        entry = AuditEntry(
            seq=at.seq + 1,
            prev=at.digest,
            t=moment_text(self._now()),
            boot_id=self._boot_id(),
            monotonic_ms=int(self._monotonic_s() * 1000),
            event=event.value,
            facts=bounded_facts(facts),
        )
        line = entry.to_line()
        if at.size_bytes >= self._segment_bytes:
            at = at.model_copy(update={"segment": entry.seq, "size_bytes": 0})
        return self._move_head(at, line, self._files.append(at.segment, line))

    def _move_head(self, at: AuditHead, line: bytes, size_bytes: int) -> AuditHead:
        head = AuditHead(seq=at.seq + 1, digest=digest_of_line(line), segment=at.segment, size_bytes=size_bytes)
        self._files.write_head(head)
        return head

    def _drop(self, head: AuditHead, oldest: int) -> AuditHead:
        with ExitStack() as stack:
            last = deque(self._files.open_segments(stack)[0].lines(), maxlen=1)
        digest = digest_of_line(last[0].data) if last else NO_LINE
        facts: dict[str, AuditFact] = {
            "first_seq": oldest,
            "last_seq": self._files.segments()[1] - 1,
            "digest": digest,
        }
        head = self._write(head, AuditEvent.AUDIT_DROPPED, facts)
        self._files.remove(oldest)
        return head

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with disk_errors("writing the audit log"):
            make_directory(self._directory)
            with exclusive_lock(self._directory):
                yield

    @contextmanager
    def _snapshot(self) -> Iterator[_Snapshot]:
        """Open the log as it is at one moment; the lock is held no longer than that."""
        with disk_errors("reading the audit log"), ExitStack() as stack:
            if not self._directory.is_dir():
                yield _Snapshot(None, "", [])
                return
            head, problem = None, ""
            with shared_lock(self._directory):
                segments = self._files.open_segments(stack)
                try:
                    head = self._files.read_head()
                except InvalidInput as error:
                    problem = f"head.json is damaged: {error.message}"
            yield _Snapshot(head, problem, segments)
