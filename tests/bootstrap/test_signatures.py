"""Signatures and the form that is signed: as the libraries of the signing station make them."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import SSlibKey

from appliance.bootstrap.openssl import OpenSsl
from appliance.bootstrap.signed_metadata import SignedMetadata, canonical
from appliance.bundle.refusal import Refusal, UpdateRefused

NO_TIME = b"""{"signatures": [], "signed": {"_type": "root", "spec_version": "1.0", "version": 1, "keys": {},
 "expires": ""}}"""
SURROGATE = b"""{"signatures": [], "signed": {"_type": "root", "spec_version": "1.0", "version": 1,
 "keys": {"\\ud800": {}}, "expires": "2030-01-01T00:00:00Z"}}"""
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@given(DOCUMENTS)
def test_the_signed_form_is_that_of_the_library_that_signs(document):
    assert canonical(json.loads(json.dumps(document))) == encode_canonical(document)


@pytest.mark.parametrize("curve", [None, ec.SECP256R1(), ec.SECP384R1()], ids=["ed25519", "p256", "p384"])
def test_keys_of_files_and_of_tokens_are_checked(curve):
    private = Ed25519PrivateKey.generate() if curve is None else ec.generate_private_key(curve)
    data = b"what is signed"
    if curve is None:
        signature = private.sign(data)
    else:
        signature = private.sign(data, ec.ECDSA(hashes.SHA256() if curve.name == "secp256r1" else hashes.SHA384()))
    key = SSlibKey.from_crypto(private.public_key()).to_dict()
    openssl = OpenSsl.found()

    assert openssl.verifies(key, signature.hex(), data)
    assert not openssl.verifies(key, signature.hex(), data + b"!")
    assert not openssl.verifies(key, (bytes([signature[0] ^ 1]) + signature[1:]).hex(), data)
    assert not openssl.verifies({**key, "scheme": "none"}, signature.hex(), data)
    assert not openssl.verifies(key, "zz", data)
    assert not openssl.verifies([], signature.hex(), data)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "there is no openssl on this system"),
        ("echo 'OpenSSL 1.1.1w  11 Sep 2023'", "is 'OpenSSL 1.1.1w"),
        ("echo 'OpenSSL 3.0.19'", "gives wrong answers"),  # it accepts everything
        ("echo 'OpenSSL 3.0.19'; [ \"$1\" = version ]", "gives wrong answers"),  # it accepts nothing
    ],
)
def test_a_program_that_cannot_check_is_not_used(tmp_path: Path, program: str | None, said: str):
    if program is not None:
        (tmp_path / "openssl").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "openssl").chmod(0o755)
    with pytest.raises(UpdateRefused, match=said) as refused:
        OpenSsl.found(str(tmp_path))

    assert refused.value.reason is Refusal.PRECONDITION
    assert "package openssl" in refused.value.hint


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"signed": {}, "signatures": []}',
        b'{"signed": {"_type": "targets"}, "signatures": []}',
        b'{"signed": {"_type": "root", "spec_version": "1.0", "version": 1.5}, "signatures": []}',
        b'{"signed": {"_type": "root", "spec_version": "1.0", "version": true}, "signatures": []}',
        b'{"signed": {"_type": "root", "spec_version": "1.0", "version": 1, "keys": {"a": 3}}, "signatures": []}',
        NO_TIME,
        SURROGATE,
        b'{"signed": {"_type": "root\\u001b[31m", "spec_version": "1.0"}, "signatures": []}',
    ],
)
def test_what_is_no_metadata_is_refused_in_words_that_a_terminal_can_show(document):
    with pytest.raises(UpdateRefused) as refused:
        SignedMetadata.parse(document, "root", "root")

    assert refused.value.reason is Refusal.BAD_SIGNATURE
    assert refused.value.message.isprintable()
