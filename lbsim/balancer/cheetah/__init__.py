"""Cheetah: cookies that carry the server, and a connection table that is indexed by them."""
