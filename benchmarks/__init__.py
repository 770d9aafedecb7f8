"""How fast rembg-watch is, measured against what one would write instead, in the same run."""
