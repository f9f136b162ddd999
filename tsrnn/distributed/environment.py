"""The environment of the processes that a cluster starts for a program."""

import os
from typing import Any, Final

# Where the store is; who may use it the machines know themselves: secrets do not travel.
_PASSED_ON: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


def runtime_environment() -> dict[str, Any] | None:
    """Return the `runtime_env` for joining a cluster: it passes on where the results are stored."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"env_vars": passed} if passed else None
