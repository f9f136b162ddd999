"""A real S3 server on the loopback, for tests."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from tsrnn.io import objects

# Whatever a test does with names in an object store, nothing beyond the loopback is asked: nobody listens there.
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"


@contextmanager
def object_store() -> Iterator[str]:
    """Start a server with an empty bucket "bucket"; this process, and those it starts, find it as a user's would."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    S3FileSystem(
        access_key="any", secret_key="any", endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True
    ).create_dir("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        objects._store.cache_clear()
        yield endpoint
        objects._store.cache_clear()
    server.stop()
