"""The connection grain: connections begin and end, servers come and go, and some connections break."""
