#!/bin/sh
# inotifywait | xargs -P curl: inotify_curl.sh INBOX OUTBOX URL WORKERS
here=$(dirname "$0")
inotifywait -q -m -e moved_to -e close_write --format '%w%f' "$1" |
  xargs -d '\n' -P "$4" -n 1 sh "$here/upload.sh" "$3" "$2"
