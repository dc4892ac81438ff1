"""Waits in the middle of everything: a recursion, a generator, a callback of C code, a `with`, a
`finally`; with locals and objects that must be as they were afterwards. Input: the depth.
"""

import contextlib
import time

import fermata

seen = {}


class Level:
    def __init__(self, depth, path):
        self.depth, self.path = depth, [*path, depth]
        self.half, self.big = depth / 2 + 0.25, depth**40
        self.left = False


@contextlib.contextmanager
def named(level):
    seen[level] = f"level {level.depth}"
    try:
        yield seen[level]
    finally:
        fermata.call("log", seen[level])
        level.left = True


def dig(depth, path):
    here = Level(depth, path)
    with named(here):
        below = dig(depth - 1, here.path) if depth > 0 else 0
        time.sleep(depth)
        return here.half + below


def words(text):
    for word in text.split():
        yield fermata.call("upper", word)


def length(word):
    # Called by `sorted`, which is written in C.
    fermata.sleep(len(word))
    return len(word)


def handler(depth):
    total = dig(depth, [])
    upper = list(words("so it goes"))
    ordered = sorted(upper, key=length)
    levels = [f"{text}:{len(level.path)}:{level.big % 1000}:{level.left}" for level, text in seen.items()]
    return {"sum": total, "upper": upper, "sorted": ordered, "levels": levels}
