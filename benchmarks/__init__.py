"""Scripts that compare speeds side by side; not part of the installed package."""
