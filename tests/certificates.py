"""Certificates for signing, made when they are asked for, and what was signed with them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest


def write_credentials(
    folder: Path,
    kind: str = "P-256",
    days: tuple[int, int] = (-1, 30),
    is_authority: bool = False,
    for_signing: bool = True,
    password: bytes | None = None,
    responder: str | None = None,
) -> tuple[Path, Path]:
    """A certificate, with that of the authority that vouches for it, and its key.

    Args:
        folder: to write them to.
        kind: of the key.
        days: from now on, from when and until when it is valid.
        is_authority: whether it is an authority's.
        for_signing: whether it says that it is for signing.
        password: of the key.
        responder: address that says whether the certificate was revoked.
    """
    pytest.importorskip("c2pa", reason="signing needs the extra c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, above = make_key(kind), ec.generate_private_key(ec.SECP256R1())

    def certify(name: str, certified: Any, with_authority: bool) -> Any:
        subject, issuer = (
            x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, each)])
            for each in (name, "Authority")
        )
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
                *("encipher_only", "decipher_only"),
            ),
            False,
        )
        usage["key_cert_sign" if with_authority else "digital_signature"] = True
        today = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer, subject, certified.public_key(), serial_number=7)
            .not_valid_before(today + timedelta(days[0]))
            .not_valid_after(today + timedelta(days[1]))
            .add_extension(x509.BasicConstraints(with_authority, None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False
            )
        )
        if for_signing:
            mail = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(mail, False)
        if responder is not None:
            address = x509.UniformResourceIdentifier(responder)
            method = x509.AuthorityInformationAccessOID.OCSP
            access = x509.AuthorityInformationAccess([x509.AccessDescription(method, address)])
            builder = builder.add_extension(access, False)
        signed = builder.sign(above, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(
        certify("Studio", key, is_authority) + certify("Authority", above, True)
    )
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password),
        )
    )
    return certificate, private


def make_key(kind: str) -> Any:
    """A private key of that kind."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))
    curves = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[kind])


def read_statement(video: Path) -> tuple[dict[str, Any], str]:
    """The statement inside a video, and whether it holds."""
    import c2pa

    with c2pa.Reader(video) as reader:
        content = json.loads(reader.json())
    return content["manifests"][content["active_manifest"]], content["validation_state"]
