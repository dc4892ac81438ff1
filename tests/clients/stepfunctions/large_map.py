"""How long a large distributed Map takes whose items come from S3 and whose results go there, and how
much memory of the server.

    large_map.py FERMATA_BINARY ITEMS STANDARD|EXPRESS [ITEMS_OF_A_BATCH]

The store is SQLite, S3 is moto's. An item is an object of some 66 bytes; its child passes it on.
"""

import json
import sys
import time

import boto3
import corpus

BUCKET = "large-map"


def machine(children, batch):
    state = {
        "Type": "Map", "End": True, "MaxConcurrency": 1000,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": children},
            "StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}},
        },
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": BUCKET, "Key": "items.json"},
        },
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": BUCKET, "Prefix": "results"},
        },
    }
    if batch:
        state["ItemBatcher"] = {"MaxItemsPerBatch": batch}
    return json.dumps({"StartAt": "Map", "States": {"Map": state}})


def resident(process):
    """MiB of RAM."""
    with open(f"/proc/{process.pid}/status") as status:
        found = next(line for line in status if line.startswith("VmRSS"))
    return int(found.split()[1]) // 1024


def main(binary, items, children, batch="0"):
    server = corpus.Server(binary, store="sqlite")
    try:
        keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        s3 = boto3.client("s3", endpoint_url=server.services.url, **keys)
        s3.create_bucket(Bucket=BUCKET)
        body = json.dumps([{"n": number, "text": "x" * 40} for number in range(int(items))])
        s3.put_object(Bucket=BUCKET, Key="items.json", Body=body)
        made = server.states.create_state_machine(
            name="large-map", roleArn=f"arn:aws:iam::{corpus.ACCOUNT}:role/r", definition=machine(children, int(batch)))
        idle, begun, peak = resident(server.process), time.monotonic(), 0
        execution = server.states.start_execution(stateMachineArn=made["stateMachineArn"])["executionArn"]
        while True:
            told = server.states.describe_execution(executionArn=execution)
            peak = max(peak, resident(server.process))
            if told["status"] != "RUNNING":
                break
            time.sleep(0.25)
        took = time.monotonic() - begun
        print(f"{told['status']} after {took:.1f} s; {len(body)} bytes of items; memory {idle} to {peak} MiB")
        for file in s3.list_objects_v2(Bucket=BUCKET, Prefix="results")["Contents"]:
            print(f"{file['Size']:>12} {file['Key']}")
        return told["status"] == "SUCCEEDED"
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:]))
