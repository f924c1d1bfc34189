"""The ground truth of counts and rates: the landing files themselves, read with pandas. Knows no table of ours."""

import gzip
import io
from collections.abc import Iterable
from datetime import date
from typing import Any

import pandas as pd

from include.landing import list_landing, s3_client
from include.locations import LANDING_BUCKET
from include.use_case import UseCase

LATE_MINUTES = 15


def landed(client: Any, key: str) -> pd.DataFrame:
    """The rows of one landing file, all as texts."""
    body = client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read()
    return pd.read_csv(io.BytesIO(gzip.decompress(body)), dtype=str)


def facts_landed(use_case: UseCase, days: Iterable[date]) -> dict[tuple[str, str], int]:
    """Rows by (source, day), good and bad."""
    client = s3_client()
    chosen = list(days)
    counts = {}
    for contract in use_case.sources:
        for day in chosen:
            keys = list_landing(client, use_case.name, [contract.name], [day])
            counts[(contract.name, day.isoformat())] = sum(len(landed(client, key)) for key in keys)
    return counts


def departures_landed(use_case: UseCase, days: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Day -> (departures, late ones); none for a day without departures, as no query has a row for it."""
    client = s3_client()
    found = {}
    for ds in days:
        (key,) = list_landing(client, use_case.name, ["departures"], [date.fromisoformat(ds)])
        delays = landed(client, key)["departure_delay"].astype(int)
        if len(delays):
            found[ds] = (len(delays), int((delays > LATE_MINUTES).sum()))
    return found
