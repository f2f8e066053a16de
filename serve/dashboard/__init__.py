"""The page at `/`: what a threshold does before you set it, and what happens now."""
