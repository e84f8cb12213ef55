"""A program for each peer, named as the peer is."""
