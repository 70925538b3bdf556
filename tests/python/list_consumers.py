"""list_consumers.py PORT STREAM: the registered consumers of a stream, by name: their ARN and status."""

import sys

import kinesis
import plain

port, stream = sys.argv[1:]
connection = kinesis.client(port)
arn = connection.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
pages = connection.get_paginator("list_stream_consumers").paginate(StreamARN=arn)
consumers = [consumer for page in pages for consumer in page["Consumers"]]
plain.answer({one["ConsumerName"]: {"arn": one["ConsumerARN"], "status": one["ConsumerStatus"]} for one in consumers})
