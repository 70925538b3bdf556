"""s3_users.py PORT BUCKET: makes a bucket, a user who may do everything and one who may do nothing; their keys. Six requests."""

import sys

import boto3
from botocore.config import Config

import plain
import s3

port, bucket = sys.argv[1:]
s3.client(port).create_bucket(Bucket=bucket)
users = boto3.client(
    "iam",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id="local",
    aws_secret_access_key="local",
    config=Config(proxies={}),
)
policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
made = {}
for name in ("writer", "nobody"):
    users.create_user(UserName=name)
    if name == "writer":
        users.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
    key = users.create_access_key(UserName=name)["AccessKey"]
    made[name] = {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
plain.answer(made)
