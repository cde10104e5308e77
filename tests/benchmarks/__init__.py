"""Homeport beside nginx and a 30-line proxy, under the same load in one interleaved run: `make bench`."""
