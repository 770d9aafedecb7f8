"""The naive script, and each answer is decoded by Pillow before it is written."""

import argparse
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import requests
from PIL import Image
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

parser = argparse.ArgumentParser()
parser.add_argument("inbox")
parser.add_argument("outbox")
parser.add_argument("url")
parser.add_argument("--workers", type=int, default=16)
args = parser.parse_args()

pool = ThreadPoolExecutor(args.workers)


def remove_background(path):
    name = os.path.splitext(os.path.basename(path))[0]
    try:
        with open(path, "rb") as photo:
            answer = requests.post(
                args.url,
                headers={"x-api-key": "benchmark"},
                files={"image": photo},
                data={"format": "webp", "w": 64, "h": 64, "exact_resize": "true"},
            )
        answer.raise_for_status()
        Image.open(io.BytesIO(answer.content)).load()
        with open(os.path.join(args.outbox, name + ".webp"), "wb") as output:
            output.write(answer.content)
    except Exception as error:
        print(path, error, file=sys.stderr)


class Handler(FileSystemEventHandler):
    def on_created(self, event):
        if not event.is_directory:
            pool.submit(remove_background, event.src_path)


observer = Observer()
observer.schedule(Handler(), args.inbox)
observer.start()
for entry in sorted(os.listdir(args.inbox)):
    pool.submit(remove_background, os.path.join(args.inbox, entry))
print("ready", flush=True)
observer.join()
