"""Vendors' drivers that come with the framework, and how drivers are found."""
