package defter

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Option says something about a [Client].
type Option func(*settings)

type settings struct {
	tenant  string
	timeout time.Duration
	proof   *Proof
	trace   TraceParent
	dial    []grpc.DialOption
}

// TraceParent returns the `traceparent` of W3C Trace Context that a call belongs to; empty where there is none.
type TraceParent func(context.Context) string

// WithTenant stands in for the tenant of each request that names none.
func WithTenant(tenant string) Option {
	return func(s *settings) { s.tenant = tenant }
}

// WithTimeout bounds each call with all its tries, where its context has no deadline; 10 s without, or where it is zero. No
// call is without a deadline; streams have that of their context or of [WithCallTimeout].
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithProof connects by TLS, and proves who calls.
func WithProof(proof Proof) Option {
	return func(s *settings) { s.proof = &proof }
}

// WithTraceParent sends the trace of each call along.
func WithTraceParent(trace TraceParent) Option {
	return func(s *settings) { s.trace = trace }
}

// WithDialOptions adds options of gRPC, such as a stats handler of OpenTelemetry. They come last, so they win.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// CallOption says something about one call.
type CallOption func(*callSettings)

type callSettings struct {
	key      string
	hasKey   bool
	timeout  time.Duration
	metadata []string
	grpc     []grpc.CallOption
}

// WithKey gives the idempotency key of a call whose request has none. A request's own key stands. An empty key is none, and
// the ledger refuses it ([ErrIdempotencyKeyMissing]): an id that is missing must not pass for a wish to get a new key.
func WithKey(key string) CallOption {
	return func(s *callSettings) { s.key, s.hasKey = key, true }
}

// WithCallTimeout bounds this call with all its tries; a deadline of its context that is earlier stands.
func WithCallTimeout(timeout time.Duration) CallOption {
	return func(s *callSettings) { s.timeout = timeout }
}

// WithMetadata sends pairs of names and values along with each try. It panics where a value is missing, as metadata.Pairs
// does: before the call, and not within it.
func WithMetadata(pairs ...string) CallOption {
	if len(pairs)%2 != 0 {
		panic("defter: WithMetadata takes pairs of names and values")
	}
	return func(s *callSettings) { s.metadata = append(s.metadata, pairs...) }
}

// WithCallOptions adds options of gRPC to each try.
func WithCallOptions(options ...grpc.CallOption) CallOption {
	return func(s *callSettings) { s.grpc = append(s.grpc, options...) }
}
