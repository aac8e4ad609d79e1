#!/usr/bin/env python3
"""Follows the log of an Atlas in plain Python, and writes a line for every document that is new.

    ATLAS_URL=http://127.0.0.1:8080 ATLAS_KEY=atlas_live_… PLACE=place.txt ./feed.py

The key is a service key with the scope events:read, which an admin makes (POST /v1/admin/api-keys). The place is how far
it has come: stopped or killed and started again, it goes on behind that, at any node. Change handle() to make it yours.
"""

import http.client
import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.request

for needed in ("ATLAS_URL", "ATLAS_KEY", "PLACE"):
    if not os.environ.get(needed):
        sys.exit(f"{needed} is not set\n\n{__doc__}")
URL = os.environ["ATLAS_URL"].rstrip("/")
KEY = os.environ["ATLAS_KEY"]
PLACE = os.environ["PLACE"]
FILTER = "type=document.created"
SILENCE = 60  # seconds without a sign of life, of which there is one every 15, after which it connects again


class Refused(Exception):
    """Atlas said no, and would say so again. The code is stable; the sentence is for people."""

    def __init__(self, problem):
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")


def handle(event):
    """Handles one event. After a kill the last one may come again, so it must do no harm the second time. Where it writes
    to a database, keep the place there, in the same transaction, and nothing comes twice."""
    print(event["type"], event["stream"], flush=True)


def load():
    try:
        with open(PLACE) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def store(place):
    """Stores the place, whole or not at all."""
    with open(PLACE + ".new", "w") as file:
        file.write(place)
        file.flush()
        os.fsync(file.fileno())
    os.replace(PLACE + ".new", PLACE)


def connect(place):
    request = urllib.request.Request(f"{URL}/v1/events?{FILTER}&after=start")
    request.add_header("Authorization", "Bearer " + KEY)
    request.add_header("Accept", "text/event-stream")
    if place:
        request.add_header("Last-Event-ID", place)  # it goes before after=start
    try:
        return urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as answer:
        if answer.code == 429 or answer.code >= 500:
            raise
        raise Refused(json.loads(answer.read() or b"{}")) from None


def blocks(feed):
    """Yields each block of the feed as a dict of its fields. What is cut off in the middle is none."""
    block = {}
    for line in feed:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            block[name] = value.removeprefix(" ")
        elif line.strip() == b"" and block:
            yield block
            block = {}


def follow(state):
    """Follows the feed until it ends, and keeps in state how long to wait before it connects again."""
    with connect(load()) as feed:
        for block in blocks(feed):
            if "retry" in block:  # comes first, so a connection that stood begins anew with short pauses
                state["pause"] = int(block["retry"]) / 1000
            if block.get("event") == "end":
                print("ended:", block["data"], file=sys.stderr, flush=True)
            elif "data" in block:
                handle(json.loads(block["data"]))
            if "id" in block:  # only now: what it came with is done
                store(block["id"])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    state = {"pause": 0.5}
    while True:
        try:
            follow(state)
        except (OSError, http.client.HTTPException) as why:  # no node, one that is busy, a connection that was lost
            print("lost:", why, file=sys.stderr, flush=True)
            asked = getattr(why, "headers", None) or {}
            state["pause"] = max(min(2 * state["pause"], 30), float(asked.get("Retry-After") or 0))
        time.sleep(state["pause"] * random.uniform(0.8, 1.2))


if __name__ == "__main__":
    try:
        main()
    except Refused as no:  # where a restore lost the place it names the one that is left: undo what came later, store that
        sys.exit(f"atlas refuses: {no}")
