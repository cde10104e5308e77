"""Homeport beside nginx and a 30-line proxy under one load, and replicas that share breakers: `make bench`."""
