"""TLS on TCP listeners, on either transport: who is let in, who is not, and what the service hears of a client."""

import json
import subprocess
import sys

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from appliance.errors import InvalidInput
from appliance.rpc.server_tls import read_tls
from appliance.settings import ServerSettings, load_settings
from tests.rpc.authority import Authority
from tests.rpc.native_tests import TRANSPORTS
from tests.rpc.packages import write_onnx_identity
from tests.rpc.wire import answers_right
from tests.support.daemon import ROOT, DaemonProcess


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("site"), "site")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def server(site):
    """Settings of a server whose clients must show a certificate of the site."""
    certificate, key = site.issue("box", "localhost", "127.0.0.1")
    return {"tls_certificate": str(certificate), "tls_key": str(key), "tls_client_authorities": str(site.file)}


def credentials(authority, client=None):
    certificate, key = client or (None, None)
    return grpc.ssl_channel_credentials(
        authority.file.read_bytes(), key and key.read_bytes(), certificate and certificate.read_bytes()
    )


@pytest.fixture(params=TRANSPORTS)
def asked(request, server):
    """Ask the service over a channel of these credentials whom it takes the client for."""
    settings = {"transport": request.param, **server}
    command = [sys.executable, "-m", "tests.rpc.identity_server", json.dumps(settings)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()

        def ask(creds):
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            channel = (
                grpc.secure_channel(address, creds, options) if creds else grpc.insecure_channel(address, options)
            )
            with channel:
                return json.loads(channel.unary_unary("/test.Who/Ask")(b"", timeout=5, metadata=[("a-key", "v")]))

        yield ask
        process.stdin.close()
        assert process.wait(20) == 0


def test_the_service_hears_whom_a_verified_certificate_names(asked, site):
    by_names = asked(credentials(site, site.issue("press-7", "press-7.hall", "10.0.0.7")))
    by_common_name = asked(credentials(site, site.issue("press-8")))

    assert by_names["names"] == ["press-7.hall", "10.0.0.7"]
    assert by_common_name["names"] == ["press-8"]
    assert by_names["peer"].startswith("ipv4:127.0.0.1:")
    assert "a-key" in by_names["metadata"]


def test_who_shows_no_certificate_of_the_site_is_not_let_in(asked, site, stranger):
    for creds in (None, credentials(site), credentials(site, stranger.issue("press-7"))):
        with pytest.raises(grpc.RpcError) as refused:
            asked(creds)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    assert asked(credentials(site, site.issue("press-9")))["names"] == ["press-9"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_daemon_speaks_tls_on_tcp_and_none_on_its_own_sockets(transport, tmp_path, site, stranger):
    write_onnx_identity(tmp_path, "identity_fp32", "FP32")
    certificate, key = site.issue("box", "localhost", "127.0.0.1")
    settings = {"SERVER_TRANSPORT": transport, "SERVER_TLS_CERTIFICATE": str(certificate), "SERVER_TLS_KEY": str(key)}
    with DaemonProcess(tmp_path, settings=settings) as daemon:
        with grpc.secure_channel(daemon.address, credentials(site)) as channel:
            assert answers_right(channel)
        with daemon.channel(over_unix=True) as channel:
            assert answers_right(channel)
        for channel in (grpc.secure_channel(daemon.address, credentials(stranger)), daemon.channel()):
            with channel, pytest.raises(grpc.RpcError) as refused:
                answers_right(channel)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert daemon.complaints == []


def settings_with(**files):
    return ServerSettings(**{f"tls_{name}": path for name, path in files.items()})


def test_without_settings_there_is_no_tls():
    assert read_tls(ServerSettings()) is None


def test_files_that_do_not_serve_are_named_with_the_reason(tmp_path, site):
    certificate, key = site.issue("box")
    _, other_key = site.issue("other")
    text = tmp_path / "text"
    text.write_text("no PEM")
    cases = {
        f"{tmp_path}/missing cannot be read: No such file": {"certificate": tmp_path / "missing", "key": key},
        f"{text} holds no certificate in PEM": {"certificate": text, "key": key},
        f"{text} is no private key that can be used": {"certificate": certificate, "key": text},
        f"the key in {other_key} is not that of the certificate in {certificate}": {
            "certificate": certificate,
            "key": other_key,
        },
        f"{text} holds no certificate": {"certificate": certificate, "key": key, "client_authorities": text},
    }
    for expected, files in cases.items():
        with pytest.raises(InvalidInput) as refused:
            read_tls(settings_with(**files))
        assert refused.value.message.startswith(expected)
        assert "README" in refused.value.hint


UNUSUAL = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "secp521r1": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}
USUAL = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_key_with_which_no_client_would_get_through_is_refused(site, kind):
    certificate, key = site.issue(kind, key=UNUSUAL[kind]())
    with pytest.raises(InvalidInput, match=f"(?i){key} is a key of a kind .*{kind}") as refused:
        read_tls(settings_with(certificate=certificate, key=key))

    assert "P-256" in refused.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", USUAL)
def test_clients_get_through_with_the_kinds_of_keys_that_are_taken(transport, kind, tmp_path, site):
    write_onnx_identity(tmp_path, "identity_fp32", "FP32")
    certificate, key = site.issue(kind, "localhost", "127.0.0.1", key=USUAL[kind]())
    settings = {"SERVER_TRANSPORT": transport, "SERVER_TLS_CERTIFICATE": str(certificate), "SERVER_TLS_KEY": str(key)}
    with (
        DaemonProcess(tmp_path, settings=settings) as daemon,
        grpc.secure_channel(daemon.address, credentials(site)) as channel,
    ):
        assert answers_right(channel)


def test_the_key_does_not_show_in_words(site):
    certificate, key = site.issue("box")
    assert "PRIVATE" not in repr(read_tls(settings_with(certificate=certificate, key=key)))


@pytest.mark.parametrize("only", ["tls_certificate", "tls_key", "tls_client_authorities"])
def test_half_of_the_settings_is_an_error(only):
    with pytest.raises(InvalidInput, match=r"server: .*tls_certificate"):
        load_settings(overrides={"server": {only: "/a"}}, environment={})
