"""A task queue on SQLite instead of a thread pool: Huey's consumer with threads, fed by a watchdog handler."""

import argparse
import logging
import os
import sys
import threading

import requests
from huey import SqliteHuey
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

parser = argparse.ArgumentParser()
parser.add_argument("inbox")
parser.add_argument("outbox")
parser.add_argument("url")
parser.add_argument("--workers", type=int, default=16)
parser.add_argument("--database", required=True)
args = parser.parse_args()

logging.getLogger("huey").setLevel(logging.WARNING)
huey = SqliteHuey(filename=args.database, results=False)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=args.workers))
session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=args.workers))


@huey.task(retries=3)
def remove_background(path):
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path, "rb") as photo:
        answer = session.post(
            args.url,
            headers={"x-api-key": "benchmark"},
            files={"image": photo},
            data={"format": "webp", "w": 64, "h": 64, "exact_resize": "true"},
        )
    answer.raise_for_status()
    with open(os.path.join(args.outbox, name + ".webp"), "wb") as output:
        output.write(answer.content)


class Handler(FileSystemEventHandler):
    def on_created(self, event):
        if not event.is_directory:
            remove_background(event.src_path)


consumer = huey.create_consumer(
    workers=args.workers, worker_type="thread", initial_delay=0.01, backoff=1.15, max_delay=0.1
)
consumer.start()
observer = Observer()
observer.schedule(Handler(), args.inbox)
observer.start()
for entry in sorted(os.listdir(args.inbox)):
    remove_background(os.path.join(args.inbox, entry))
print("ready", flush=True)
threading.Event().wait()
