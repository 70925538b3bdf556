"""s3_make_bucket.py PORT BUCKET: makes a bucket."""

import sys

import plain
import s3

port, bucket = sys.argv[1:]
s3.client(port).create_bucket(Bucket=bucket)
plain.answer({"bucket": bucket})
