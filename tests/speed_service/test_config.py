"""Settings: what is missing or malformed is named, and no secret shows."""

import re
from pathlib import Path

import pytest

from include.settings import SettingError
from speed_service.app import create_app
from speed_service.config import ServiceConfig
from tests.speed_service.conftest import make_config

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "PREDICTOR_TOKEN": "a-token-long-enough",
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "general",
    "S3_SECRET_KEY": "general-secret",
    "KAFKA_BOOTSTRAP": "127.0.0.1:2",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(SettingError, match=name):
        ServiceConfig.from_environment({**GOOD, name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREDICTOR_TOKEN", "short"),
        ("LAMBDA_DL_TILE_DAYS", "many"),
        ("LAMBDA_DL_TILE_DAYS", "0"),
        ("LAMBDA_DL_RETRY_SECONDS", "nan"),
        ("LAMBDA_DL_LOG_HTTP", "perhaps"),
        ("LAMBDA_DL_QUERY_HORIZON_SECONDS", "0"),
        ("PREDICTOR_S3_ACCESS_KEY", "alone"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        ServiceConfig.from_environment({**GOOD, name: value})


@pytest.mark.parametrize(("value", "on"), [("", True), ("1", True), ("true", True), ("0", False), ("False", False)])
def test_a_switch(value: str, on: bool) -> None:
    assert ServiceConfig.from_environment({**GOOD, "LAMBDA_DL_LOG_HTTP": value}).log_http is on


def test_the_services_own_keys_go_first() -> None:
    assert ServiceConfig.from_environment(GOOD).s3.access_key == "general"
    own = {"PREDICTOR_S3_ACCESS_KEY": "own", "PREDICTOR_S3_SECRET_KEY": "own-secret"}
    assert ServiceConfig.from_environment({**GOOD, **own}).s3.access_key == "own"


def test_secrets_do_not_show() -> None:
    text = repr(ServiceConfig.from_environment(GOOD))
    assert "general" not in text and "a-token" not in text


def test_tiles_must_reach_as_far_back_as_the_windows() -> None:
    with pytest.raises(SettingError, match="LAMBDA_DL_TILE_DAYS is 7"):
        create_app(make_config(tile_days=7))


def test_an_unknown_use_case_is_named() -> None:
    with pytest.raises(SettingError, match="no use case 'no_such'"):
        create_app(make_config(use_case="no_such"))


def test_every_setting_is_documented() -> None:
    source = (ROOT / "speed_service/config.py").read_text()
    names = set(re.findall(r"\"((?:LAMBDA_DL|PREDICTOR)_[A-Z_]+)\"", source))
    page = (ROOT / "docs/predictor.md").read_text()
    assert names and not [name for name in names if f"`{name}`" not in page]
