"""Measure how fast rembg-watch is against the scripts that one would write instead, in the same run."""
