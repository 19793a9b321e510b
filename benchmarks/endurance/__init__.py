"""Long runs, many viewers, and attacks on the view."""
