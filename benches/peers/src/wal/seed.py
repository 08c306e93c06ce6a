"""Appends records as ipfs_kit_py's DurableWAL does, and prints how many a second.

By record: under a lock, a number and a time are put around it; it becomes a line of JSON; the line goes to
a text file that is flushed at each line; the file is synced, after each record ("always") or each hundred
("batch"), or not at all ("periodic"); the size of the file is asked for. After every thousand records the
file is synced, read and hashed as a whole with SHA-256, and a checkpoint is written to a file of its own and
synced. The record is an operation with 128 bytes of content.

usage: seed.py DIR always|batch|periodic RECORDS
"""

import hashlib
import json
import os
import sys
import threading
import time


def main(folder, mode, records):
    path = os.path.join(folder, "segment.log")
    segment = open(path, "a", buffering=1)
    lock = threading.RLock()
    waiting = []
    every = 1 if mode == "always" else 100

    def sync(file):
        file.flush()
        os.fsync(file.fileno())

    def write():
        for entry in waiting:
            segment.write(json.dumps(entry) + "\n")
        waiting.clear()
        if mode != "periodic":
            sync(segment)

    def checkpoint(number):
        write()
        sync(segment)
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(4096):
                digest.update(chunk)
        name = os.path.join(folder, f"checkpoint-{number}.json")
        with open(name, "w") as file:
            facts = {"number": number, "time": time.time(), "sha256": digest.hexdigest()}
            json.dump(facts, file, indent=2)
            sync(file)

    operation = {"kind": "put", "content": "x" * 128}
    start = time.perf_counter()
    for number in range(1, records + 1):
        with lock:
            waiting.append({"sequence_number": number, "timestamp": time.time(), "operation": operation})
            if len(waiting) >= every:
                write()
            if number % 1000 == 0:
                checkpoint(number)
            os.stat(path)
    print(records / (time.perf_counter() - start))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
