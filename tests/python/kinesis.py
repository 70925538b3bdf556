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
    """The names of all shards of a stream, closed ones too."""
    return [shard["ShardId"] for shard in listed(connection, stream)]


def listed(connection, stream):
    """All shards of a stream, closed ones too, page by page, each from the last one's name: not every server knows the
    tokens that it gives."""
    found, more = [], {}
    while True:
        page = connection.list_shards(StreamName=stream, **more)
        found.extend(page["Shards"])
        if not page.get("NextToken") or not page["Shards"]:
            return found
        more = {"ExclusiveStartShardId": found[-1]["ShardId"]}
