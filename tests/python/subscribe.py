"""subscribe.py PORT STREAM COUNT: subscribes to every shard by enhanced fan-out until so many records have come.

Prints {"records": the payloads as text, by shard; "consumer": the consumer's status at the end}.
"""

import json
import sys
import time

import kinesis


def consumer(connection, stream):
    """A consumer of the stream, once it can be used."""
    arn = connection.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    connection.register_stream_consumer(StreamARN=arn, ConsumerName="python")
    for _ in range(200):
        found = connection.describe_stream_consumer(StreamARN=arn, ConsumerName="python")["ConsumerDescription"]
        if found["ConsumerStatus"] == "ACTIVE":
            return found
        time.sleep(0.05)
    raise SystemExit(f"the consumer stays {found['ConsumerStatus']}")


def events(connection, consumer_arn, shard):
    """A subscription's events. The client hides the method because AWS wants HTTP/2 for it; the server here does not."""
    start = {"Type": "TRIM_HORIZON"}
    request = {"ConsumerARN": consumer_arn, "ShardId": shard, "StartingPosition": start}
    answer = connection._make_api_call("SubscribeToShard", request)
    for event in answer["EventStream"]:
        yield event["SubscribeToShardEvent"]


port, stream, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = kinesis.client(port)
found = consumer(connection, stream)
names, records = kinesis.shards(connection, stream), {}
for shard in names:
    records[shard] = []
    for event in events(connection, found["ConsumerARN"], shard):
        assert event["ContinuationSequenceNumber"].isdigit(), event
        records[shard].extend(record["Data"].decode() for record in event["Records"])
        if event["MillisBehindLatest"] == 0:
            break
total = sum(len(payloads) for payloads in records.values())
assert total == count, f"{total} records instead of {count}"
json.dump({"records": records, "consumer": found["ConsumerStatus"]}, sys.stdout)
