"""s3_look.py PORT BUCKET: every object with its size, ETag and SHA-256, and the uploads that nobody has finished."""

import hashlib
import sys

import plain
import s3

port, bucket = sys.argv[1:]
connection = s3.client(port)
objects = {}
for key in s3.keys(connection, bucket):
    found = connection.get_object(Bucket=bucket, Key=key)
    body = found["Body"].read()
    objects[key] = {
        "bytes": len(body),
        "etag": found["ETag"].strip('"'),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
uploads = connection.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
plain.answer({"objects": objects, "uploads": [upload["Key"] for upload in uploads]})
