"""The predictor: the speed service, or as many of them as the profile says, with keys that read and never write.

Several are members of one consumer group and share the partitions of the queries.
"""

from __future__ import annotations

from local_stack.environment import secretless_env
from local_stack.ports import LOOPBACK
from local_stack.stack import Server, Stack

KIND = "predictor"
MODULE = "speed_service"


def predictors(stack: Stack) -> tuple[Server, ...]:
    """Every speed service: those of the profile for the first use case, one for each further one."""
    first = [_service(stack, name, stack.first_use_case) for name in stack.profile.services]
    further = [_service(stack, stack.server_of(KIND, use_case), use_case) for use_case in stack.use_cases[1:]]
    return (*first, *further)


def _service(stack: Stack, name: str, use_case: str) -> Server:
    return Server(
        name=name,
        address=stack.ports.url(name),
        port_names=(name,),
        needs=("s3", "kafka"),
        command=_command(stack, name),
        env={**_env(stack), "LAMBDA_DL_USE_CASE": use_case},
        probe=lambda: _probe(stack, name),
        pending=lambda: _missing_app(stack),
        stop_as_group=True,
    )


def _command(stack: Stack, name: str) -> tuple[str, ...]:
    python, port = str(stack.layout.bin / "python"), str(stack.ports[name])
    return (python, "-m", MODULE, "--host", LOOPBACK, "--port", port, "--workers", "1")


def _env(stack: Stack) -> dict[str, str]:
    """The project's environment with its token and its own S3 key, which reads, as the only secrets."""
    access, secret = (stack.secrets[f"predictor_s3_{kind}_key"] for kind in ("access", "secret"))
    own = {"PREDICTOR_TOKEN": stack.secrets["predictor_token"], "S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret}
    return {**secretless_env(stack), **own, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}


def _missing_app(stack: Stack) -> str:
    return "" if (stack.layout.repo / MODULE / "__main__.py").exists() else f"{MODULE} is not there yet"


def _probe(stack: Stack, name: str) -> None:
    import requests

    requests.get(f"{stack.ports.url(name)}/healthz", timeout=5).raise_for_status()
