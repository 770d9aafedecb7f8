#!/bin/sh
# find | xargs -P curl, for what is in the folder now: find_curl.sh INBOX OUTBOX URL WORKERS
here=$(dirname "$0")
find "$1" -type f -print0 | xargs -0 -P "$4" -n 1 sh "$here/upload.sh" "$3" "$2"
