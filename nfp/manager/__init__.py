"""The Network Service Manager: what is wanted, what is, and the way from one to the other."""
