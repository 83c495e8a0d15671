"""TLS of a listener: the files of the settings, checked early, in the form that each engine wants."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore.errors import InvalidArgumentError
from featurestore.settings import Settings, read_secret_file

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's chain and key, and the authorities whose certificates clients must show, if any (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Tls | None":
        """As the settings say. InvalidArgumentError, in a sentence, for files that do not fit."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        tls = cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        tls.ssl_context()
        return tls

    def ssl_context(self) -> ssl.SSLContext:
        """For a server that speaks HTTP/2 alone."""
        for path, setting in ((self.certificate, "tls_certificate"), (self.key, "tls_key"), (self.client_ca, "tls_client_ca")):
            if path is not None:
                read_secret_file(path, setting)  # OpenSSL's own error does not say which file cannot be read
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            expected = f"a PEM certificate that fits the key in {self.key} ({reason})"
            raise InvalidArgumentError.of("tls_certificate", str(self.certificate), expected) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError:
                raise InvalidArgumentError.of("tls_client_ca", str(self.client_ca), "a PEM file of certificates") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def grpc_credentials(self) -> "grpc.ServerCredentials":
        """For grpcio."""
        import grpc  # noqa: PLC0415  which the other engine does without

        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        authorities = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)
