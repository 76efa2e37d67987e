"""Owns the gRPC surface: servicers, the reading of requests, serving, and the error table."""
