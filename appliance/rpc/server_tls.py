"""Certificate, key and authorities with which TCP listeners speak TLS: read and checked before anybody listens.

A gRPC library says only that it cannot listen; which file is at fault, and why, is found out here.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from appliance.errors import InvalidInput
from appliance.settings import ServerSettings

# With these alone a client on gRPC's core, which has BoringSSL's defaults, can shake hands.
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_REMEDY = "server.tls_certificate, tls_key and tls_client_authorities name files in PEM: README, section 'Encryption'"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM as gRPC takes it. client_authorities: empty if clients need no certificate."""

    certificate_chain: bytes
    key: bytes = field(repr=False)
    client_authorities: bytes


def read_tls(settings: ServerSettings) -> ServerTls | None:
    """Read what the settings name; None if they name nothing. Raises InvalidInput with file and reason."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    chain, key, authorities = settings.tls_certificate, settings.tls_key, settings.tls_client_authorities
    tls = ServerTls(_read(chain), _read(key), _read(authorities) if authorities is not None else b"")
    first = certificates(chain, tls.certificate_chain)[0]
    if authorities is not None:
        certificates(authorities, tls.client_authorities)
    try:
        public = load_pem_private_key(tls.key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{key} is no private key that can be used: {error}", hint=_REMEDY) from error
    if public != first.public_key():
        raise InvalidInput(f"the key in {key} is not that of the certificate in {chain}", hint=_REMEDY)
    _require_usual(public, key)
    return tls


def certificates(path: Path, data: bytes) -> list[Certificate]:
    """Parse PEM certificates, at least one. Raises InvalidInput."""
    try:
        return load_pem_x509_certificates(data)
    except ValueError as error:
        raise InvalidInput(f"{path} holds no certificate in PEM: {error}", hint=_REMEDY) from error


def _require_usual(public: PublicKeyTypes, path: Path) -> None:
    """Raise InvalidInput for a key with which no client would get through."""
    if isinstance(public, rsa.RSAPublicKey) or (
        isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, _CURVES)
    ):
        return
    kind = public.curve.name if isinstance(public, ec.EllipticCurvePublicKey) else type(public).__name__
    raise InvalidInput(
        f"{path} is a key of a kind that clients on gRPC's core do not accept ({kind.removesuffix('PublicKey')}), "
        "expected RSA, P-256 or P-384",
        hint="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256, and a certificate for it",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", hint=_REMEDY) from error
