"""The reference device runtime."""
