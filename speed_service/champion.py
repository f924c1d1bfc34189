"""The model that is served: a verified bundle, its references as look-up tables, and the ledger line that names it.

Loading checks everything before the champion exists; nothing half-loaded can be swapped in. It does not know when
to load or what to do when that fails.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from include.bundle.bundle import Bundle, load_bundle
from include.bundle.store import ObjectStore
from include.features.columns import References, ReferenceTable, parse_reference
from include.features.spec import Reference
from include.ledger import Entry
from include.use_case import UseCase

#: Storage is away: to be tried again. Anything else that loading raises is the bundle's own fault.
STORAGE_ERRORS = (BotoCoreError, ClientError, OSError)
GZIP_MAGIC = b"\x1f\x8b"


class BundleRejected(RuntimeError):
    """The bundle that the ledger names cannot be served; the message says why."""


@dataclass(frozen=True)
class Champion:
    """A model ready to answer. ``promoted_at`` is RFC 3339 as in the ledger; ``loaded_at`` is aware, UTC.

    ``reference_versions`` are the SHA-256 sums of its reference tables' plain CSV, by name.
    """

    bundle: Bundle
    references: References
    sequence: int
    promoted_at: str
    loaded_at: datetime
    reference_versions: Mapping[str, str]

    @property
    def model_id(self) -> str:
        """The bundle's content address."""
        return self.bundle.model_id


def load_champion(store: ObjectStore, use_case: UseCase, entry: Entry) -> Champion:
    """Load and verify the bundle that a ledger line names: hashes, feature definition, self-check, references.

    Raises ``BundleRejected`` when the bundle is at fault, and what the store raises when storage is.
    """
    try:
        bundle = load_bundle(store, use_case.name, entry.model_id, use_case.features)
        references = read_references(use_case.features.references, bundle.references)
    except STORAGE_ERRORS:
        raise
    except Exception as error:
        raise BundleRejected(f"{type(error).__name__}: {error}") from error
    versions = {name: hashlib.sha256(_plain(content)).hexdigest() for name, content in bundle.references.items()}
    return Champion(bundle, references, entry.sequence, entry.time, datetime.now(UTC), versions)


def read_references(declared: tuple[Reference, ...], tables: Mapping[str, bytes]) -> References:
    """The reference tables that a bundle carries; raises ``KeyError`` if one is absent."""
    return {
        reference.name: ReferenceTable.from_arrow(reference, parse_reference(reference, _plain(tables[reference.name])))
        for reference in declared
    }


def _plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
