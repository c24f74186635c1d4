"""How points get computed: pools, workers, what happens when they fail, and how it looks meanwhile."""
