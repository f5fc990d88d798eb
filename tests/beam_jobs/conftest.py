"""An object store for the tests: S3's protocol, spoken by a server of moto."""

import logging
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tfcausal.schema.paths import as_path


@pytest.fixture(scope="module")
def bucket() -> Iterator[Path]:
    """Returns the root of an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Clients are kept by name: each server's bucket has its own.
        name = f"tfcausal-test-{port}"
        boto3.client("s3").create_bucket(Bucket=name)
        yield as_path(f"s3://{name}")
    server.stop()
