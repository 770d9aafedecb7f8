#!/bin/bash
# Runs the checks of tests/systemd/inside on a machine that may be thrown away: as root, with systemd as PID 1.
#     inside.sh FOLDER WHEELS    FOLDER: a copy of tests/systemd/inside; WHEELS: rembg-watch[sandbox] and all it needs
# It makes users, mounts and services. Never run it on a machine that you want to keep.
exec python3 -B "$1" "$2"
