#!/usr/bin/env python3
"""A worker for Atlas in plain Python: it tells a URL about every new document.

    ATLAS_URL=http://127.0.0.1:8080 ATLAS_KEY=atlas_live_… WEBHOOK_URL=https://hooks.example.com/documents ./worker.py

The key is a service key with the scope subscriptions:use, which an admin makes (POST /v1/admin/api-keys). Start as many
of these as you like, against any nodes: they share the documents. Change handle() to make it yours.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed

for needed in ("ATLAS_URL", "ATLAS_KEY", "WEBHOOK_URL"):
    if not os.environ.get(needed):
        sys.exit(f"{needed} is not set\n\n{__doc__}")
URL = os.environ["ATLAS_URL"].rstrip("/")
KEY = os.environ["ATLAS_KEY"]
WEBHOOK = os.environ["WEBHOOK_URL"]
NAME = os.environ.get("SUBSCRIPTION", "webhook")
AT_ONCE = 10  # messages at once, each of another document
LEASE = int(os.environ.get("LEASE", 30))  # seconds that a message may take before others are given it; the worker asks for more while it works

stopping = threading.Event()


class Permanent(Exception):
    """A failure that no further try will mend: the message is parked at once."""


class Later(Exception):
    """The message is wanted again after so many seconds. That is no failure."""

    def __init__(self, seconds):
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


def handle(message):
    """Handles one message. It may come more than once, so whatever it does must be harmless the second time: here the
    receiver knows the event by its id. Return when it is done; raise Permanent, Later, or anything else to fail."""
    event = message["event"]
    body = json.dumps({"document_id": event["stream"].partition("-")[2], "at": event["recorded_at"]}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": event["id"]}
    request = urllib.request.Request(WEBHOOK, body, headers, method="POST")
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError as answer:
        if answer.code == 429:
            raise Later(float(answer.headers.get("Retry-After", 5)))
        if 400 <= answer.code < 500:
            raise Permanent(f"the webhook answered {answer.code}")
        raise


class Refused(Exception):
    """Atlas said no. The code is stable; the sentence is for people."""

    def __init__(self, status, problem):
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.status, self.code, self.errors = status, problem.get("code"), problem.get("errors", [])


def call(method, path, body=None, timeout=30, patience=None):
    """Calls Atlas, again and again while it cannot be reached: every call here may be repeated. With patience, only for
    so many seconds; then it raises TimeoutError."""
    pause, until = 0.2, None if patience is None else time.monotonic() + patience
    while True:
        request = urllib.request.Request(URL + path, method=method)
        request.add_header("Authorization", "Bearer " + KEY)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as answer:
            if answer.code != 429 and answer.code < 500:
                raise Refused(answer.code, problem_of(answer)) from None
            wait = float(answer.headers.get("Retry-After", pause))
        except (OSError, http.client.HTTPException):  # a node that is gone; the next call may meet another
            wait = pause
        if until is not None and time.monotonic() + wait > until:
            raise TimeoutError(f"{method} {path}: no answer of Atlas in {patience} s")
        if until is not None:
            time.sleep(wait)
        elif stopping.wait(wait):
            sys.exit()  # nothing is in hand by this call
        pause = min(2 * pause, 10)


def problem_of(answer):
    """What Atlas says is wrong; what stands between may answer with something else."""
    try:
        return json.loads(answer.read())
    except ValueError:
        return {"code": answer.code, "detail": answer.reason}


def answer(verb, body):
    """Answers a message, and says whether that counts. Once its lease is over, the message comes again, or somebody else
    has it by now: so there is no sense in trying for longer than a lease."""
    try:
        call("POST", f"/v1/subscriptions/{NAME}/{verb}", body, patience=LEASE)
        return True
    except TimeoutError as why:
        print(why, flush=True)
    except Refused as no:
        if no.code != "lease_lost":
            raise
        print("lease lost", flush=True)
    return False


def keep(token, done):
    """Asks for more time while a message is worked on. Whatever is wrong, the answer meets it too."""
    try:
        while not done.wait(LEASE / 3) and answer("extend", {"messages": [{"token": token, "seconds": LEASE}]}):
            pass
    except Refused as no:
        print(f"no more time: {no}", flush=True)


def work(message):
    """Works on one message, and says what became of it."""
    token, done = message["token"], threading.Event()
    keeper = threading.Thread(target=keep, args=(token, done), daemon=True)
    keeper.start()
    try:
        handle(message)
    except Permanent as why:
        verb, body = "nack", {"messages": [{"token": token, "error": str(why)[:2000], "permanent": True}]}
    except Later as why:
        verb, body = "nack", {"messages": [{"token": token, "delay_seconds": why.seconds}]}
    except Exception as why:  # whatever it is, the message comes again
        verb, body = "nack", {"messages": [{"token": token, "error": f"{type(why).__name__}: {why}"[:2000]}]}
    else:
        verb, body = "ack", {"tokens": [token]}
    done.set()
    keeper.join()
    if answer(verb, body):
        print(verb, message["event"]["stream"], message["event"]["version"], flush=True)


def main():
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    call("PUT", f"/v1/subscriptions/{NAME}", {"types": ["document.created"]})
    print("working", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        busy = set()
        while not stopping.is_set():
            ask = {"messages": AT_ONCE - len(busy), "lease_seconds": LEASE, "wait_seconds": 8 if not busy else 1}
            for message in call("POST", f"/v1/subscriptions/{NAME}/lease", ask)["messages"]:
                busy.add(threads.submit(work, message))
            while busy and (len(busy) == AT_ONCE or any(one.done() for one in busy)):
                one = next(as_completed(busy))
                busy.remove(one)
                one.result()


if __name__ == "__main__":
    try:
        main()
    except Refused as no:
        sys.exit(f"atlas refuses: {no}")
