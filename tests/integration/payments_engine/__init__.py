"""Own the proof that payments hold through lanes, processes and crashes."""
