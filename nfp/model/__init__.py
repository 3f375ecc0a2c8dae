"""Vocabulary that every component shares: resources, states, errors, schemas.

Imports nothing else of ours.
"""
