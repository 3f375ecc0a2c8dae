"""Everything on one machine: ``nfp up`` and ``nfp lab``."""
