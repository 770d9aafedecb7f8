"""From a folder to finished files: watch, scan, wait until nobody writes, look once, hand over."""
