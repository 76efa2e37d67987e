package defter

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Keyed is the answer of a call with an idempotency key.
type Keyed[R any] struct {
	// Response is what the ledger answered.
	Response R
	// Key is the key that was used: the caller's, or the one that the client made.
	Key string
	// Replayed says whether an earlier call had decided the outcome.
	Replayed bool
}

// message is a pointer to a message that can be made.
type message[R any] interface {
	*R
	proto.Message
}

// call is one call with all its tries.
type call struct {
	client  *Client
	path    string
	changes bool
	key     string
	options callSettings
	// wasLost says whether a try may have taken effect although its answer did not come.
	wasLost bool
}

func (c *Client) call(path string, options []CallOption) *call {
	made := &call{client: c, path: path}
	for _, option := range options {
		option(&made.options)
	}
	return made
}

// keyed makes a call whose request has a key.
func keyed[R any, P message[R]](
	ctx context.Context, client *Client, path string, request proto.Message, options []CallOption,
) (*Keyed[P], error) {
	made := client.call(path, options)
	made.changes = true
	request, made.key = withKey(request, made.options)
	response := P(new(R))
	trailer, err := made.unary(ctx, request, response)
	if err != nil {
		return nil, err
	}
	return &Keyed[P]{response, made.key, first(trailer, replayedKey) == "true"}, nil
}

// plain makes a call without a key.
func plain[R any, P message[R]](
	ctx context.Context, client *Client, path string, request proto.Message, options []CallOption, changes bool,
) (P, error) {
	made := client.call(path, options)
	made.changes = changes
	response := P(new(R))
	if _, err := made.unary(ctx, request, response); err != nil {
		err.Keys = keysOf(request)
		return nil, err
	}
	return response, nil
}

// unary makes a call until it is answered, or the time is up: then its error is that of the last try.
func (c *call) unary(ctx context.Context, request, response proto.Message) (metadata.MD, *Error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request = withTenant(request, c.client.tenant)
	deadline, _ := ctx.Deadline()
	tries := tries{deadline: deadline}
	for {
		var trailer metadata.MD
		options := append([]grpc.CallOption{grpc.Trailer(&trailer)}, c.options.grpc...)
		err := c.client.conn.Invoke(ctx, c.path, request, response, options...)
		if err == nil {
			return trailer, nil
		}
		if unsent := unsendable(err, request, c.key); unsent != nil {
			return nil, unsent
		}
		if failure := c.failed(err, trailer); !tries.another(ctx, failure) {
			return nil, c.last(ctx, failure)
		}
	}
}

// unsendable returns the error of a request that has no bytes, such as one with a text that is no UTF-8: it never leaves the
// client, so it has no effect and no second try. It is nil for every other.
func unsendable(err error, request proto.Message, key string) *Error {
	if status.Code(err) != codes.Internal {
		return nil
	}
	if _, cause := proto.Marshal(request); cause == nil {
		return nil
	}
	return failed(status.Error(codes.InvalidArgument, status.Convert(err).Message()), nil, key)
}

// failed returns the error of a try, with what is known of those before it.
func (c *call) failed(err error, trailer metadata.MD) *Error {
	failure := failed(err, trailer, c.key)
	// A read has no effect that its caller could doubt.
	c.wasLost = c.wasLost || c.changes && failure.leavesOpen()
	failure.OutcomeUnknown = failure.leavesOpen() && (c.changes || failure.Code != codes.Unavailable) ||
		c.wasLost && !failure.Reason.decides()
	return failure
}

// last returns the error of a call that is not made again: that of the last try, but where the caller has given the call up
// between two tries, that.
func (c *call) last(ctx context.Context, failure *Error) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return c.failed(ctx.Err(), nil)
	}
	return failure
}

// bounded gives a call its deadline, what is sent along, and nothing twice.
func (c *call) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = c.outgoing(ctx)
	timeout := c.options.timeout
	if _, ok := ctx.Deadline(); !ok {
		timeout = c.timeout()
	}
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// timeout returns for how long a call may go on, or a stream without anything coming through.
func (c *call) timeout() time.Duration {
	if c.options.timeout != 0 {
		return c.options.timeout
	}
	return c.client.timeout
}

// outgoing adds what is sent along.
func (c *call) outgoing(ctx context.Context) context.Context {
	pairs := c.options.metadata
	if c.client.trace != nil {
		if parent := c.client.trace(ctx); parent != "" {
			pairs = append(pairs[:len(pairs):len(pairs)], "traceparent", parent)
		}
	}
	if len(pairs) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// left returns how long there may be tries of something that has no deadline of its own.
func (c *call) left(ctx context.Context) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline
	}
	return time.Now().Add(c.timeout())
}
