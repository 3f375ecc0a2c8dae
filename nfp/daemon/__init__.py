"""What every process of ours shares: settings, journal, in-flight work, threads, readiness."""
