"""Packaging.  The migrations ship inside the package; the twistd plugins are files, never a package."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = Path("nfp/__init__.py").read_text().split('__version__ = "')[1].split('"')[0]

setup(
    name="nfp",
    version=VERSION,
    description="Network Function Plugin framework: service chains of OpenStack GBP, made real and kept so",
    long_description=Path("README.md").read_text() if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["nfp", "nfp.*"]),
        "nfp.migrations",
        "nfp.migrations.versions",
        "twisted.plugins",
    ],
    package_dir={"nfp.migrations": "alembic", "nfp.migrations.versions": "alembic/versions"},
    package_data={"nfp": ["py.typed", "**/*.xml", "**/*.json"], "nfp.migrations": ["script.py.mako"]},
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        "Twisted[tls]>=26.4",
        "txAMQP==0.8.2",
        "klein>=23.12",
        "treq>=24.9",
        "SQLAlchemy>=2.0.30",
        "alembic>=1.13",
        "zope.interface>=6.4.post2",
        "oslo.config>=9.4",
        "cryptography>=45.0.7",
        "jsonschema>=4.21",
        "cliff>=4.9",
    ],
    extras_require={
        "postgresql": ["psycopg[binary]>=3.1.18"],
        "test": [
            "hypothesis>=6.100",
            "mypy==2.4.1",
            "mypy-zope==1.0.17",
            "oslo.messaging>=14.7",
            "psycopg[binary]>=3.1.18",
            "ruff==0.17.6",
            "setuptools>=77",  # tests build wheels with it, without downloading
        ],
    },
    entry_points={
        "console_scripts": ["nfp = nfp.operator.cli.main:main"],
        "nfp.manager_modules": ["lifecycle = nfp.manager.lifecycle_module:LifeCycleModule"],
        "nfp.configurator_modules": [
            "generic = nfp.configurator.modules.generic:GenericModule",
            "firewall = nfp.configurator.modules.firewall:FirewallModule",
        ],
        "nfp.lifecycle_drivers": ["namespace = nfp.manager.lifecycle.namespace:make"],
        "nfp.vendor_drivers": ["nftables = nfp.configurator.drivers.nftables:make"],
        "nfp.commands": [
            "up = nfp.embedded.commands:Up",
            "lab_attach = nfp.embedded.commands:LabAttach",
            "lab_run = nfp.embedded.commands:LabRun",
            "lab_detach = nfp.embedded.commands:LabDetach",
            "database_upgrade = nfp.manager.store.commands:Upgrade",
            "database_check = nfp.manager.store.commands:Check",
        ],
    },
    classifiers=[
        "Framework :: Twisted",
        "Programming Language :: Python :: 3.11",
        "Topic :: System :: Networking",
    ],
)
