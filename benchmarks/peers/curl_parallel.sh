#!/bin/sh
# One curl for all, for what is in the folder now: curl_parallel.sh INBOX OUTBOX URL WORKERS
between=
for photo in "$1"/*; do
  name=${photo##*/}
  printf "$between"'url = "%s"\nheader = "x-api-key: benchmark"\nform = "image=@%s"\n' "$3" "$photo"
  printf 'form = "format=webp"\nform = "w=64"\nform = "h=64"\nform = "exact_resize=true"\noutput = "%s"\n' \
    "$2/${name%.*}.webp"
  between='next\n'
done | curl -sS --parallel --parallel-max "$4" -K -
