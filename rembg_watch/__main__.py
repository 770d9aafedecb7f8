"""``python -m rembg_watch``."""

from rembg_watch.cli import main

main()
