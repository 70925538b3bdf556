"""The Kinesis client of the tests: boto3 against a server on this machine."""

import boto3
from botocore.config import Config


def client(port):
    """A client that no environment and no file of credentials can lead elsewhere."""
    return boto3.client(
        "kinesis",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, proxies={}),
    )


def shards(connection, stream):
    """The names of all shards of a stream, closed ones too, page by page."""
    names, more = [], {"StreamName": stream}
    while more:
        page = connection.list_shards(**more)
        names.extend(shard["ShardId"] for shard in page["Shards"])
        more = {"NextToken": page["NextToken"]} if page.get("NextToken") else None
    return names
