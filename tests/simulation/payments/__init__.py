"""Own the proof that neither order nor repetition of events matters."""
