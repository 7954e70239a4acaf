"""A key that never leaves its PKCS#11 token signs beside keys in files (SoftHSM2 plays the token)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from appliance.errors import AlreadyExists, Failed, NotFound
from appliance.publish.key_changes import TokenAddress, add_key, revoke_key, role_keys
from appliance.publish.station import Station
from appliance.publish.token_key import TokenKey
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


def opened(publisher: Publisher, pin: str = PIN, keys: Sequence[Path] = ()):
    return Station.opened(
        publisher.directory / "station", lambda _: PASSPHRASE, pin=lambda _: pin.encode(), keys=keys, kdf_rounds=1
    )


@pytest.mark.slow
def test_a_token_and_one_file_are_two_who_sign_a_new_root(
    publisher: Publisher, box: SealedBox, token: TokenAddress
) -> None:
    with opened(publisher) as station:
        added = add_key(station, "root", token)
        files = [path.suffix for path in (station.directory / "keys").glob("root-*")]
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


@pytest.mark.slow
def test_other_keys_sign_where_the_token_is_not_plugged_in(publisher: Publisher, token: TokenAddress) -> None:
    with opened(publisher) as station:
        add_key(station, "root", token)
        revoke_key(station, "root", role_keys(station)["root"][0][0])
    unplug(publisher)
    with opened(publisher) as station:
        assert add_key(station, "root").added
        for file in (station.directory / "keys").glob("root-[35]-*.key"):
            file.unlink()
    with opened(publisher) as station:  # noqa: SIM117
        with pytest.raises(NotFound, match="2 keys must sign 'root', 1 were found") as caught:
            add_key(station, "root")
    assert "plug in the token" in caught.value.hint


@pytest.mark.slow
def test_a_wrong_pin_signs_nothing(publisher: Publisher, token: TokenAddress) -> None:
    with opened(publisher) as station:
        add_key(station, "root", token)
        for key_id in role_keys(station)["root"][0][:2]:
            revoke_key(station, "root", key_id)
        before = station.store.versions("root")
    with opened(publisher, pin="654321") as station:
        with pytest.raises(Failed, match="'root' could not be signed") as caught:
            add_key(station, "root")
        assert station.store.versions("root") == before
    assert "PIN" in caught.value.hint


@pytest.mark.slow
def test_a_stick_with_keys_cannot_choose_the_library_that_is_loaded(
    publisher: Publisher, token: TokenAddress, tmp_path: Path
) -> None:
    with opened(publisher) as station:
        add_key(station, "root", token)
        for key_id in role_keys(station)["root"][0][:2]:
            revoke_key(station, "root", key_id)
        (file,) = (station.directory / "keys").glob("*.token")
    (tmp_path / "safe").mkdir()
    file.rename(tmp_path / "safe" / file.name)

    with opened(publisher, keys=[tmp_path / "safe"]) as station:  # noqa: SIM117
        with pytest.raises(NotFound, match="2 keys must sign 'root', 1 were found"):
            add_key(station, "root")


@pytest.mark.slow
def test_the_same_key_of_a_token_is_not_added_twice(publisher: Publisher, token: TokenAddress) -> None:
    with opened(publisher) as station:
        add_key(station, "root", token)
        before = station.store.versions("root")
        with pytest.raises(AlreadyExists, match="has this key already"):
            add_key(station, "root", token)
        assert station.store.versions("root") == before


def unplug(publisher: Publisher) -> None:
    """Let the station's file name a token that is not there, as after pulling it out."""
    (file,) = (publisher.directory / "station" / "keys").glob("*.token")
    found = TokenKey.parse(file.read_bytes())
    elsewhere = found.model_copy(update={"label": "gone", "address": found.address.replace("owner", "gone")})
    file.write_bytes(elsewhere.to_bytes())
