"""What a deployment may choose, read from its environment."""

import pytest

from lambda_dl.deployment import read_deployment


def test_a_person_is_asked_only_where_a_deployment_says_so() -> None:
    assert not read_deployment({}).approval
    found = read_deployment({"LAMBDA_DL_APPROVAL": "1", "LAMBDA_DL_APPROVAL_LIMIT_SECONDS": "60"})
    assert (found.approval, found.approval_limit) == (True, 60.0)
    with pytest.raises(ValueError, match="LAMBDA_DL_APPROVAL has 'yes': write 0 or 1"):
        read_deployment({"LAMBDA_DL_APPROVAL": "yes"})
