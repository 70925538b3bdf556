"""The S3 client of the tests: boto3 against a server on this machine."""

import boto3
from botocore.config import Config


def client(port):
    """A client that no environment and no file of credentials can lead elsewhere."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, proxies={}, s3={"addressing_style": "path"}),
    )


def keys(connection, bucket, prefix=""):
    """The keys of all objects below a prefix, page by page."""
    pages = connection.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]
