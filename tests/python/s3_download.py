"""s3_download.py PORT BUCKET PREFIX DIR: the objects below a prefix as files in DIR, at their paths after the prefix."""

import pathlib
import sys

import plain
import s3

port, bucket, prefix, folder = sys.argv[1:]
connection = s3.client(port)
files = []
for key in s3.keys(connection, bucket, prefix):
    path = pathlib.Path(folder) / key.removeprefix(prefix).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.download_file(bucket, key, str(path))
    files.append(str(path.relative_to(folder)))
plain.answer(sorted(files))
