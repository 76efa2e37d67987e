"""Rules of background jobs, by themselves."""
