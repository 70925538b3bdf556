"""make_secret.py PORT NAME TEXT: keeps a text in Secrets Manager."""

import sys

import boto3
from botocore.config import Config

import plain

port, name, text = sys.argv[1:]
client = boto3.client(
    "secretsmanager",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id="local",
    aws_secret_access_key="local",
    config=Config(retries={"max_attempts": 5, "mode": "standard"}, proxies={}),
)
plain.answer({"arn": client.create_secret(Name=name, SecretString=text)["ARN"]})
