"""The command ``nfp``."""
