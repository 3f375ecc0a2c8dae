"""Contract suites and fakes, shipped for drivers' authors."""
