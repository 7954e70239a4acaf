"""A key that never leaves its PKCS#11 token signs beside keys in files (SoftHSM2 plays the token)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import NotFound
from appliance.publish.key_changes import TokenAddress, add_key, revoke_key, role_keys
from appliance.publish.station import Station
from tests.updates.boxes import PASSPHRASE, Publisher, SealedBox

PIN = "123456"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/libsofthsm2.so")
MAKE_KEY = """
import sys, pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
token = pkcs11.lib(sys.argv[1]).get_token(token_label="owner")
with token.open(user_pin=sys.argv[2], rw=True) as session:
    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    curve.generate_keypair(store=True, id=bytes([7]), label="root")
"""


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenAddress]:
    module = next((Path(path) for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed: apt install softhsm2")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    making = ["softhsm2-util", "--init-token", "--free", "--label", "owner", "--pin", PIN, "--so-pin", "12345678"]
    subprocess.run(making, check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", MAKE_KEY, str(module), PIN], check=True)
    yield TokenAddress(module, "owner", 7)
    os.environ.pop("PYKCS11LIB", None)


def opened(publisher: Publisher):
    """The token's PIN is asked for by its name or its file; all other secrets are passphrases."""
    return Station.opened(
        publisher.directory / "station",
        lambda name: PIN.encode() if "token" in name else PASSPHRASE,
        kdf_rounds=1,
    )


@pytest.mark.slow
def test_a_token_and_one_file_are_two_who_sign_a_new_root(
    publisher: Publisher, box: SealedBox, token: TokenAddress
) -> None:
    with opened(publisher) as station:
        added = add_key(station, "root", token)
        files = [path.suffix for path in station.ring.files("root")]
        for key_id in role_keys(station)["root"][0][:2]:
            revoke_key(station, "root", key_id)
        keys, threshold = role_keys(station)["root"]
    assert sorted(files) == [".key", ".key", ".key", ".token"]
    assert (len(keys), threshold) == (2, 2)
    assert added.added in keys

    assert box.apply(publisher.stick(1)).code == 0
    with box.box() as looked_at:
        assert looked_at.trust.root().version == 4
        assert set(looked_at.trust.root().key_ids) == set(keys)


@pytest.mark.slow
def test_a_token_that_is_not_there_is_said(publisher: Publisher, token: TokenAddress) -> None:
    with opened(publisher) as station:
        with pytest.raises(NotFound, match="key 9 of the token 'owner'"):
            add_key(station, "root", TokenAddress(token.module, "owner", 9))
        with pytest.raises(NotFound, match="cannot be read"):
            add_key(station, "root", TokenAddress(token.module, "other", 7))
        with pytest.raises(NotFound, match="is not there"):
            add_key(station, "root", TokenAddress(token.module.with_name("none.so"), "owner", 7))
