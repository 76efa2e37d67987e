package defter

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	pingInterval = 30 * time.Second
	pingTimeout  = 10 * time.Second
	// Ours to connect, which is much less than gRPC's: the caller's own pauses are between the tries.
	firstReconnect   = 100 * time.Millisecond
	longestReconnect = 2 * time.Second
	// A handshake may take; a busy server needs more than the first pause.
	connectTimeout = 3 * time.Second

	// All addresses are used in turn, and those that are away are passed over.
	serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}]}`
)

// dial prepares a connection of gRPC.
func dial(
	addresses string, proof credentials.TransportCredentials, settings *settings,
) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(proof),
		grpc.WithUserAgent("defter-go/" + Version),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithResolvers(severalBuilder{}),
		// Names are asked for addresses, not for policies of their own.
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: firstReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestReconnect,
			},
			MinConnectTimeout: connectTimeout,
		}),
	}
	if settings.proof != nil && settings.proof.TokenFile != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(settings.proof.TokenFile)))
	}
	return grpc.NewClient(target(addresses), append(options, settings.dial...)...)
}
