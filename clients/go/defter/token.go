package defter

import (
	"context"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// bearer adds the token of a file to each try; gRPC sends it by TLS alone.
type bearer string

// GetRequestMetadata reads the token; an unreadable one fails the call.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(b))
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "the token can't be read: %v", cause(err))
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, nil
}

// RequireTransportSecurity keeps the token from being read on its way.
func (bearer) RequireTransportSecurity() bool { return true }
