"""Holds memory whose every byte matters. Input: "MIB ROUNDS SLEEP_MS SEED"."""
import hashlib
import random
import time


def handler(event, context):
    mib, rounds, pause, seed = (int(word) for word in event.split())
    held = bytearray()
    draw = random.Random(seed)
    for _ in range(mib):
        held += draw.randbytes(1 << 20)
    for round in range(rounds):
        for at in range(round % 64, len(held), 4096):
            held[at] = (held[at] * 5 + round) & 255
        if pause:
            time.sleep(pause / 1000)
    return hashlib.sha256(held).hexdigest()
