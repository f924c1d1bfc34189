"""Write the system's trusted certificates as a store that Java reads.

The bundled Java ships its own list of authorities, which does not know one that a company or a proxy added to the
system. Runs in the project's environment (it needs `cryptography`), as `python -m local_stack.trust_store FILE`.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from local_stack.jars import TRUST_STORE_PASSWORD

_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def system_bundle() -> Path | None:
    """The file of authorities that OpenSSL programs on this machine use."""
    candidates = [os.environ.get("SSL_CERT_FILE"), *_SYSTEM_BUNDLES, ssl.get_default_verify_paths().cafile]
    return next((Path(c) for c in candidates if c and Path(c).is_file()), None)


def readable_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a bundle; one that does not parse (some old ones break the rules) is left out."""
    found = []
    for block in _PEM.findall(pem):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue
    return found


def write_store(bundle: Path, target: Path) -> None:
    certificates = readable_certificates(bundle.read_bytes())
    entries = [pkcs12.PKCS12Certificate(cert, f"ca-{i}".encode()) for i, cert in enumerate(certificates)]
    protection = BestAvailableEncryption(TRUST_STORE_PASSWORD.encode())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pkcs12.serialize_java_truststore(entries, protection))


def main() -> None:
    warnings.simplefilter("ignore")
    bundle = system_bundle()
    if bundle is not None:
        write_store(bundle, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
