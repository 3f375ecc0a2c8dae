"""Acme's additions."""
