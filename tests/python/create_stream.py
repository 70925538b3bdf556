"""create_stream.py PORT STREAM SHARDS: makes a stream and waits until it takes records."""

import sys

import kinesis
import plain

port, stream, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = kinesis.client(port)
connection.create_stream(StreamName=stream, ShardCount=count)
connection.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
plain.answer({"shards": kinesis.shards(connection, stream)})
