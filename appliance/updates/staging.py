"""Content arrives: from the medium into the blobs in one pass, then each new version is tried. Nobody sees it yet.

A staging that was cut off goes on at the first part that is not here. What rotted comes back in the same way.
"""

from collections.abc import Mapping
from functools import partial

from appliance.bundle.layout import BLOBS_DIRECTORY
from appliance.bundle.oci_layers import ItemFile
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import is_lack_of_room
from appliance.errors import AlreadyExists, ApplianceError, Failed, InvalidInput
from appliance.model.identity import Digest, digest_hex
from appliance.registry.records import RegisteredVersion
from appliance.updates.box import Box
from appliance.updates.content_bringer import part_path
from appliance.updates.medium import Medium
from appliance.updates.plan import Plan, PlannedModel
from appliance.updates.planned_software import PlannedSoftware
from appliance.updates.slot_filler import forget_archive
from appliance.updates.trial_check import trial_check
from appliance.updates.update_run import UpdateRun


class Staging:
    """One bundle's content on its way into the blobs."""

    def __init__(self, box: Box, medium: Medium, run: UpdateRun) -> None:
        self._box = box
        self._medium = medium
        self._run = run
        self._done_bytes = 0

    def bring(self, files: Mapping[Digest, ItemFile], total_bytes: int) -> None:
        """Put files into the blobs; those that are there are hashed again. Raises UpdateRefused, Failed."""
        self._require_on_medium(files)
        advance = partial(self._advance, total_bytes=total_bytes)
        try:
            self._box.bring(self._box.layout, self._medium, list(files.values()), advance)
        except Failed as error:
            if is_lack_of_room(error):
                raise self._no_space(total_bytes) from error
            raise

    def _no_space(self, total_bytes: int) -> UpdateRefused:
        """Refuse a disk that somebody else filled meanwhile; what arrived stays for the next attempt."""
        free_bytes = self._box.free_bytes()
        return UpdateRefused(
            Refusal.NO_SPACE,
            f"the disk filled up while the bundle was copied: {free_bytes} bytes free",
            hint="make room: appliance models remove NAME VERSION, then appliance models gc; then apply it again",
            facts={"need": total_bytes - self._done_bytes, "have": free_bytes},
        )

    def fill_slot(self, software: PlannedSoftware) -> None:
        """Put a release into the slot that does not run, unless it lies there. Raises UpdateRefused, Failed."""
        item = software.item
        if not software.missing:
            return

        def count(done: int) -> None:
            self._run.progress(f"unpacking software {item.version}", done, item.file_count)

        try:
            self._box.fill(self._box.layout, self._medium, self._box.slots.inactive, item, count)
        except InvalidInput as error:
            raise TrialFailed(f"software {item.version}", error) from error
        except Failed as error:
            if is_lack_of_room(error):
                raise self._no_space(item.unpacked_bytes) from error
            raise
        forget_archive(self._box.layout, item)

    def try_models(self, plan: Plan) -> list[RegisteredVersion]:
        """Try every new version in a child process, on the very bytes that were staged. Raises UpdateRefused."""
        return [self._tried(model) for model in plan.models]

    def _tried(self, model: PlannedModel) -> RegisteredVersion:
        item = model.item
        self._run.progress(f"trying {item.name} version {item.version}", 0, 1)
        check = trial_check(item.name, self._box.models)
        try:
            return self._box.registry.prepare_staged(item, check)
        except (InvalidInput, AlreadyExists) as error:
            raise TrialFailed(f"{item.name} version {item.version}", error) from error

    def _require_on_medium(self, files: Mapping[Digest, ItemFile]) -> None:
        """Say what is missing before the first byte is copied."""
        present = set(self._box.registry.blobs.digests())
        missing = [
            digest_hex(part.digest)
            for file in files.values()
            if file.digest not in present
            for part in file.parts
            if not self._medium.exists(part_path(part))
        ]
        if missing:
            raise UpdateRefused(
                Refusal.INCOMPLETE_MEDIUM,
                f"{len(missing)} files of the bundle are not on the medium, such as {BLOBS_DIRECTORY}/{missing[0]}",
                hint="copy the bundle to the stick again; a thin bundle needs a box that has the rest",
                facts={"missing": missing[:100]},
            )

    def _advance(self, digest: Digest, more_bytes: int, *, total_bytes: int) -> None:
        self._done_bytes += more_bytes
        self._run.progress(f"copying {digest[:19]}", min(self._done_bytes, total_bytes), total_bytes)


class TrialFailed(ApplianceError):
    """What arrived is what was signed, and does not work on this box."""

    def __init__(self, what: str, cause: ApplianceError) -> None:
        super().__init__(f"{what}: {cause.message}", hint=cause.hint)
