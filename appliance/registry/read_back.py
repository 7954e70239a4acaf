"""Reading versions back and comparing them with their digests: what `models verify` does. Changes nothing."""

from collections.abc import Callable, Iterable

from appliance.errors import ApplianceError
from appliance.model.identity import Digest
from appliance.registry.blob_store import BlobStore
from appliance.registry.manifest import Manifest
from appliance.registry.records import RegistryProblem

Progress = Callable[[str, int, int], None]


class ReadBack:
    """One pass over blobs; each is read once however many versions share it."""

    def __init__(self, blobs: BlobStore, progress: Progress, total_bytes: int) -> None:
        self._blobs = blobs
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._judged: dict[Digest, tuple[str, str]] = {}

    def version(self, manifest: Manifest) -> list[RegistryProblem]:
        """Examine every file of a version, and its manifest."""
        subject = f"{manifest.name} version {manifest.version}"
        named = [(file.digest, f"{path}: ") for path, file in manifest.files.items()]
        return self._problems([*named, (manifest.digest(), "manifest: ")], subject)

    def blobs(self, digests: Iterable[Digest]) -> list[RegistryProblem]:
        """Examine blobs that no version refers to."""
        unjudged = ((digest, "") for digest in digests if digest not in self._judged)
        return [found for digest, place in unjudged for found in self._problems([(digest, place)], f"blob {digest}")]

    def _problems(self, named: list[tuple[Digest, str]], subject: str) -> list[RegistryProblem]:
        found = []
        for digest, place in named:
            problem, hint = self._judge(digest, f"{subject}: {place}")
            if problem:
                found.append(RegistryProblem(subject, place + problem, hint))
        return found

    def _judge(self, digest: Digest, what: str) -> tuple[str, str]:
        if digest not in self._judged:

            def advance(more_bytes: int) -> None:
                self._done_bytes += more_bytes
                self._progress(f"reading {what}".rstrip(": "), self._done_bytes, self._total_bytes)

            try:
                self._blobs.verify(digest, advance)
                self._judged[digest] = ("", "")
            except ApplianceError as error:
                self._judged[digest] = (error.message, error.hint)
        return self._judged[digest]


def read_back_bytes(manifests: Iterable[Manifest]) -> int:
    """How much reading these versions back reads (shared content counts once)."""
    return sum({file.digest: file.size_bytes for manifest in manifests for file in manifest.files.values()}.values())
