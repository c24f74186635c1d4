"""Finished points: what names one, its file, and the folder that holds them."""
