"""Own the proof that findings hold through lanes, processes and crashes."""
