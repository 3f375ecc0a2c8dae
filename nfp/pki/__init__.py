"""A certificate authority of our own, certificates, renewal."""
