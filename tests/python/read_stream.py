"""read_stream.py PORT STREAM FILE: every record of every shard, as JSON lines into FILE; the counts on stdout.

A line: {"payload_base64": …, "arrived_at_ms": …, "shard": …, "hash_keys": [first, last], "sequence": …}.
"""

import base64
import json
import sys

import kinesis


def records(connection, stream, shard):
    """A shard's records from its beginning to where it ends, or to where the stream has nothing newer."""
    start = connection.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator = start["ShardIterator"]
    while iterator:
        page = connection.get_records(ShardIterator=iterator, Limit=10_000)
        yield from page["Records"]
        # An empty page is no end by itself: the shard may have gaps.
        if not page["Records"] and page["MillisBehindLatest"] == 0:
            return
        iterator = page.get("NextShardIterator")


port, stream, target = sys.argv[1:]
connection, by_shard = kinesis.client(port), {}
with open(target, "w", encoding="ascii") as out:
    for listed in kinesis.listed(connection, stream):
        shard, hash_keys = listed["ShardId"], listed["HashKeyRange"]
        by_shard[shard] = 0
        for record in records(connection, stream, shard):
            by_shard[shard] += 1
            line = {
                "payload_base64": base64.b64encode(record["Data"]).decode(),
                "arrived_at_ms": round(record["ApproximateArrivalTimestamp"].timestamp() * 1000),
                "shard": shard,
                "hash_keys": [int(hash_keys["StartingHashKey"]), int(hash_keys["EndingHashKey"])],
                "sequence": record["SequenceNumber"],
            }
            out.write(json.dumps(line) + "\n")
json.dump({"records": sum(by_shard.values()), "shards": by_shard}, sys.stdout)
