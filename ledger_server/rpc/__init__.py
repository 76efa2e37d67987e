"""Own the gRPC surface: servicers, converters, interceptors and the error table."""
