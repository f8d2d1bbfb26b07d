"""Variational mixtures of normalizing flows, on Pyro."""
