"""The Network Function Plugin framework: service chains made real, and kept so."""

__version__ = "0.1.0"
