"""C2PA: a signed statement inside a video that a model made it (extra `c2pa`).

Whoever has a certificate for signing says with it who made the video, and viewers notice changes.
What is stated is that of the mark, see `svp_diffusers.media.mark`: the action `c2pa.created` with
IPTC's type for media of a trained model, by this package. https://spec.c2pa.org
"""

import io
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from PIL import Image

from svp_diffusers.errors import ConfigurationError, MissingDependencyError, OutputError
from svp_diffusers.media.input import check_input
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE
from svp_diffusers.media.output import atomic_path

MOST_BYTES = 2**20
"""Of a file of certificates or a key (our choice)."""
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""C2PA's algorithm for keys of an elliptic curve."""


@dataclass(frozen=True)
class VideoSigner:
    """Signs videos with a certificate, see `open_signer`.

    Attributes:
        algorithm: C2PA's name of it.
        certificates: PEM, the signer's first, then those that vouch for it.
        key: the signer's private key, PEM of PKCS #8.
    """

    algorithm: str
    certificates: bytes
    key: bytes = field(repr=False)

    def sign(self, video: Path, title: str) -> None:
        """Put a signed statement into an MP4, in place of an older one. Nothing is sent anywhere.

        Raises:
            OutputError: it cannot be written; the video is as it was.
        """
        import c2pa

        with (
            atomic_path(video) as signed,
            video.open("rb") as source,
            signed.open("w+b") as target,
        ):
            try:
                self._embed("video/mp4", title, source, target)
            except c2pa.C2paError as error:
                raise OutputError(f"{title} cannot be signed: {error}") from error

    def check(self) -> None:
        """Sign a picture of one pixel in memory.

        Raises:
            C2paError: the certificate is not one that C2PA allows.
        """
        picture = io.BytesIO()
        Image.new("RGB", (1, 1)).save(picture, "PNG")
        picture.seek(0)
        self._embed("image/png", "", picture, io.BytesIO())

    def _embed(self, kind: str, title: str, source: IO[bytes], target: IO[bytes]) -> None:
        import c2pa

        time_stamp_address = None  # whose server would be told of every video
        info = c2pa.C2paSignerInfo(self.algorithm, self.certificates, self.key, time_stamp_address)
        with c2pa.Signer.from_info(info) as signer:
            c2pa.Builder(json.dumps(describe(title))).sign(signer, kind, source, target)


def describe(title: str) -> dict[str, Any]:
    """What is stated of a video, as c2pa-python takes it."""
    maker = {"name": "svp-diffusers", "version": version("svp-diffusers")}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": maker,
    }
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    return {"title": title, "claim_generator_info": [maker], "assertions": [actions]}


def choose_signer(certificate: Path | None, key: Path | None) -> VideoSigner | None:
    """The signer that is asked for, see `open_signer`; None where none is.

    Raises:
        ConfigurationError: if there is one file without the other.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError(
            "Signing needs both the certificate and its private key: --sign and --sign-key."
        )
    return open_signer(certificate, key)


def open_signer(certificate: Path, key: Path) -> VideoSigner:
    """Read and try a certificate and its key.

    Args:
        certificate: PEM, the signer's first, then those that vouch for it.
        key: PEM without a password, of an elliptic curve (P-256, P-384, P-521), RSA or Ed25519.

    Raises:
        MissingDependencyError: c2pa-python is not installed.
        MediaError: a file is missing or empty.
        ConfigurationError: a file holds something else, the key is of another certificate, or C2PA
            does not allow the certificate.
    """
    try:
        import c2pa
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError as error:
        raise MissingDependencyError(
            "--sign needs c2pa-python: pip install 'svp-diffusers[c2pa]'."
        ) from error
    certificate_pem, key_pem = _read(certificate), _read(key)
    try:
        chain = load_pem_x509_certificates(certificate_pem)
        certified = chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{certificate} is not a certificate in PEM: {error}.") from error
    try:
        private = serialization.load_pem_private_key(key_pem, password=None)
        algorithm = _choose_algorithm(private)
    except TypeError as error:
        raise ConfigurationError(
            f"{key} is encrypted: write it without its password, where only you can read it "
            f"(openssl pkey -in {key.name} -out plain.pem)."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{key} is not a private key in PEM of an elliptic curve (P-256, P-384, P-521), RSA or "
            f"Ed25519: {error}."
        ) from error
    if private.public_key() != certified:
        raise ConfigurationError(
            f"{key} is not the key of the first certificate in {certificate}: the signer's own "
            "comes first, then those that vouch for it."
        )
    signer = VideoSigner(
        algorithm,
        b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain),
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    try:
        signer.check()
    except c2pa.C2paError as error:
        raise ConfigurationError(
            f"C2PA does not allow {certificate} ({error}): it must be valid today, be for signing "
            "(key usage digitalSignature, an extended key usage such as emailProtection), and not "
            "be an authority's."
        ) from error
    return signer


def _read(path: Path) -> bytes:
    with check_input(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigurationError(f"{path} is larger than {MOST_BYTES >> 20} MiB: no such file is.")
    return content


def _choose_algorithm(private: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    raise ValueError("it is of another kind")
