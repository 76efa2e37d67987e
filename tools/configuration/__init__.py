"""Own the source of the configuration reference: what the settings' classes can't say of themselves."""
