"""Own the pure rules of money: no async, SQL, protobuf, clock or environment."""
