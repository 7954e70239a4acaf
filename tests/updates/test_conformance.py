"""The conformance client as the public suite calls it, over HTTP on this machine."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "scripts" / "tuf-conformance-client"
TOP = ("root", "timestamp", "snapshot", "targets")


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


class Repository:
    """A repository that is signed anew at each `publish`, and the client that is to follow it."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in TOP}
        self.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self.root = Root(consistent_snapshot=True, expires=self.expires)
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.targets = Targets(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self.delegated: dict[str, tuple[Targets, CryptoSigner]] = {}
        for name in ("metadata", "targets"):
            (directory / name).mkdir(parents=True)

    def publish_root(self, *more: CryptoSigner) -> None:
        self.write("root", self.root, [*self.signers["root"], *more])

    def publish(self) -> None:
        """Sign timestamp, snapshot and all targets anew, each one version higher."""
        for role, (content, signer) in self.delegated.items():
            self.snapshot.meta[f"{role}.json"] = MetaFile(content.version)
            self.write(role, content, [signer])
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.write("targets", self.targets, self.signers["targets"])
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self.write("snapshot", self.snapshot, self.signers["snapshot"])
        self.write("timestamp", self.timestamp, self.signers["timestamp"])

    def write(self, role: str, signed: Any, signers: list[Any]) -> None:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        prefix = (
            ""
            if role == "timestamp" or (role != "root" and not self.root.consistent_snapshot)
            else f"{signed.version}."
        )
        (self.directory / "metadata" / f"{prefix}{role}.json").write_bytes(metadata.to_bytes())

    def add_target(self, path: str, data: bytes, content: Targets | None = None) -> None:
        target = TargetFile.from_data(path, data, ["sha256"])
        (content or self.targets).targets[path] = target
        directory, _, name = path.rpartition("/")
        place = self.directory / "targets" / directory / f"{target.hashes['sha256']}.{name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def client(self, *words: str) -> int:
        line = [sys.executable, str(CLIENT), "--metadata-dir", str(self.trusted), *words]
        return subprocess.run(line, capture_output=True, check=False, timeout=60).returncode

    def init(self) -> int:
        return self.client("init", str(self.directory / "metadata" / "1.root.json"))

    def refresh(self) -> int:
        return self.client("--metadata-url", f"{self.url}/metadata/", "refresh")

    def download(self, name: str) -> bytes | None:
        place = self.directory / "downloaded"
        place.mkdir(exist_ok=True)
        urls = ["--metadata-url", f"{self.url}/metadata/", "--target-base-url", f"{self.url}/targets/"]
        asked = ["--target-name", name, "--target-dir", str(place), "download"]
        if self.client(*urls, *asked):
            return None
        (found,) = place.iterdir()
        return found.read_bytes()

    @property
    def trusted(self) -> Path:
        return self.directory / "trusted"

    def version(self, role: str) -> int | None:
        path = self.trusted / f"{role}.json"
        return Metadata.from_file(str(path)).signed.version if path.exists() else None


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Repository(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        made.publish_root()
        made.publish()
        assert made.init() == 0
        yield made
        server.shutdown()


pytestmark = pytest.mark.slow


def test_a_repository_is_followed_from_version_to_version(repository: Repository) -> None:
    assert repository.version("timestamp") is None
    assert repository.refresh() == 0
    repository.timestamp.version += 1
    repository.snapshot.version += 1
    repository.publish()

    assert repository.refresh() == 0
    assert [repository.version(role) for role in TOP] == [1, 2, 2, 1]


def test_an_unsigned_root_is_no_beginning(repository: Repository, tmp_path: Path) -> None:
    broken = Metadata.from_file(str(tmp_path / "metadata" / "1.root.json"))
    broken.signatures.clear()
    (tmp_path / "broken.json").write_bytes(broken.to_bytes())

    assert repository.client("--metadata-dir", str(tmp_path / "other"), "init", str(tmp_path / "broken.json")) == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_signatures_of_strangers_are_refused(repository: Repository, role: str) -> None:
    repository.signers[role] = [CryptoSigner.generate_ed25519()]
    repository.publish()

    assert repository.refresh() == 1
    assert repository.version(role) is None


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_expired_metadata_is_refused(repository: Repository, role: str) -> None:
    signed = getattr(repository, role)
    signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    if role == "root":
        signed.version = 2
        repository.publish_root()
    repository.publish()

    assert repository.refresh() == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_older_versions_are_refused(repository: Repository, role: str) -> None:
    for signed in (repository.timestamp, repository.snapshot, repository.targets):
        signed.version = 5
    repository.publish()
    assert repository.refresh() == 0
    getattr(repository, role).version = 4
    if role != "timestamp":
        repository.timestamp.version += 1
    if role == "targets":
        repository.snapshot.version += 1
    repository.publish()

    assert repository.refresh() == 1
    assert repository.version(role) == 5


def test_root_keys_rotate_and_only_old_and_new_together_vouch_for_it(repository: Repository) -> None:
    old, new = repository.signers["root"][0], CryptoSigner.generate_ed25519()
    repository.root.version = 2
    repository.root.revoke_key(old.public_key.keyid, "root")
    repository.root.add_key(new.public_key, "root")
    repository.signers["root"] = [new]
    repository.publish_root()
    assert repository.refresh() == 1
    repository.publish_root(old)

    assert repository.refresh() == 0
    assert repository.version("root") == 2


def test_new_timestamp_and_snapshot_keys_undo_a_fast_forward(repository: Repository) -> None:
    repository.timestamp.version = repository.snapshot.version = 99_999
    repository.publish()
    assert repository.refresh() == 0
    for role in ("timestamp", "snapshot"):
        (old,) = repository.signers[role]
        new = CryptoSigner.generate_ed25519()
        repository.root.revoke_key(old.public_key.keyid, role)
        repository.root.add_key(new.public_key, role)
        repository.signers[role] = [new]
    repository.root.version = 2
    repository.publish_root()
    repository.timestamp.version = repository.snapshot.version = 1
    repository.publish()

    assert repository.refresh() == 0
    assert repository.version("snapshot") == 1


def test_without_consistent_snapshots_names_have_no_versions(repository: Repository) -> None:
    repository.root.consistent_snapshot = False
    repository.root.version = 2
    repository.publish_root()
    repository.publish()

    assert repository.refresh() == 0


def test_a_target_of_a_delegated_role_is_downloaded_and_a_changed_one_is_not(repository: Repository) -> None:
    signer = CryptoSigner.generate_ed25519()
    role = DelegatedRole("team", [signer.public_key.keyid], 1, terminating=False, paths=["team/*"])
    repository.targets.delegations = Delegations({signer.public_key.keyid: signer.public_key}, {"team": role})
    repository.delegated["team"] = (Targets(expires=repository.expires), signer)
    repository.add_target("team/file.txt", b"content", repository.delegated["team"][0])
    repository.add_target("elsewhere.txt", b"content", repository.delegated["team"][0])
    repository.publish()

    assert repository.download("team/file.txt") == b"content"
    assert repository.download("elsewhere.txt") is None  # not of its paths
    next((repository.directory / "targets" / "team").iterdir()).write_bytes(b"changed")
    assert repository.download("team/file.txt") is None
