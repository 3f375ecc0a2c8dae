"""A third party's package: it adds one RPC method and one event, and touches nothing of ours."""

from setuptools import setup

setup(
    name="acme-nfp",
    version="1.0",
    packages=["acme_nfp"],
    entry_points={"nfp.test_modules": ["acme = acme_nfp.module:make"]},
)
