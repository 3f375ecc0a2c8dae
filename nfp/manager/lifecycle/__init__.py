"""Lifecycle drivers: what makes, finds and removes the devices that services run on."""
