"""put_records.py PORT STREAM N: puts the first N lines of stdin, a record each, by the order id in it."""

import json
import sys

import kinesis

RECORDS_PER_CALL = 500
BYTES_PER_CALL = 4_000_000


def partition_key(line, number):
    try:
        return str(json.loads(line)["OrderID"])
    except (ValueError, KeyError, TypeError):
        return f"line {number}"


def calls(records):
    """The records in groups that one call takes."""
    group, size = [], 0
    for record in records:
        weight = len(record["Data"]) + len(record["PartitionKey"])
        if group and (len(group) == RECORDS_PER_CALL or size + weight > BYTES_PER_CALL):
            yield group
            group, size = [], 0
        group.append(record)
        size += weight
    if group:
        yield group


def put(connection, stream, group, by_shard):
    """Puts a group; what the answer reports as failed is put again, up to ten times."""
    for _ in range(10):
        answers = connection.put_records(StreamName=stream, Records=group)["Records"]
        failed = [record for record, answer in zip(group, answers) if "SequenceNumber" not in answer]
        for answer in answers:
            if "SequenceNumber" in answer:
                by_shard[answer["ShardId"]] = by_shard.get(answer["ShardId"], 0) + 1
        if not failed:
            return
        group = failed
    sys.exit(f"{len(group)} records still fail after ten tries")


port, stream, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
lines = sys.stdin.buffer.read().splitlines()
if len(lines) < wanted:
    sys.exit(f"{wanted} records are to be put, and stdin holds {len(lines)} lines")
records = [{"Data": line, "PartitionKey": partition_key(line, number)}
           for number, line in enumerate(lines[:wanted], start=1)]
connection, by_shard = kinesis.client(port), {}
for group in calls(records):
    put(connection, stream, group, by_shard)
json.dump({"put": sum(by_shard.values()), "shards": by_shard}, sys.stdout)
