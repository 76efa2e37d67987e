package defter

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

var (
	receives = &grpc.StreamDesc{ServerStreams: true}
	sends    = &grpc.StreamDesc{ClientStreams: true}
	both     = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
)

// received makes a call that is answered by several messages. It is tried again until the first of them has come: what
// comes after a break would begin anew. Of a call that changes something, errors tell the key.
func received[R any, P message[R]](
	ctx context.Context, client *Client, path string, request proto.Message, options []CallOption, changes bool,
) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		made := client.call(path, options)
		request := request
		if made.changes = changes; changes {
			request, made.key = withKey(request, made.options)
		}
		ctx, cancel := made.asLongAs(ctx)
		defer cancel()
		request = withTenant(request, client.tenant)
		tries := tries{deadline: made.left(ctx)}
		for hasBegun := false; ; {
			stream, err := made.open(ctx, receives, request)
			for err == nil {
				found := P(new(R))
				if err = stream.RecvMsg(found); err == nil {
					hasBegun = true
					if !yield(found, nil) {
						return
					}
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if failure := made.ended(err, stream); hasBegun || !tries.another(ctx, failure) {
				yield(nil, made.last(ctx, failure))
				return
			}
		}
	}
}

// asLongAs gives a stream the deadline that its caller says, if any: how long it takes is the caller's matter.
func (c *call) asLongAs(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.options.timeout == 0 {
		return context.WithCancel(c.outgoing(ctx))
	}
	return context.WithTimeout(c.outgoing(ctx), c.options.timeout)
}

// open begins a stream; what is asked at its beginning, if anything, is all that is sent.
func (c *call) open(ctx context.Context, kind *grpc.StreamDesc, request proto.Message) (grpc.ClientStream, error) {
	stream, err := c.client.conn.NewStream(ctx, kind, c.path, c.options.grpc...)
	if err != nil || request == nil {
		return stream, err
	}
	// EOF says that the stream has ended already; receiving tells why.
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return stream, err
	}
	return stream, stream.CloseSend()
}

// ended returns the error of a stream, which may not have come about at all.
func (c *call) ended(err error, stream grpc.ClientStream) *Error {
	if stream == nil {
		return c.failed(err, nil)
	}
	return c.failed(err, stream.Trailer())
}

// sent makes a call of several messages with one answer. It is not tried again, for the messages can be read only once.
func sent[R any, Q proto.Message, P message[R]](
	ctx context.Context, client *Client, path string, requests iter.Seq[Q], options []CallOption,
) (P, error) {
	made := client.call(path, options)
	made.changes = true
	ctx, cancel := made.asLongAs(ctx)
	defer cancel()
	stream, err := made.open(ctx, sends, nil)
	if err != nil {
		return nil, made.ended(err, nil)
	}
	for request := range requests {
		if stream.SendMsg(withTenant(request, client.tenant)) != nil {
			break
		}
	}
	// Where sending has failed, receiving tells why; closing does not fail then.
	_ = stream.CloseSend()
	response := P(new(R))
	if err := stream.RecvMsg(response); err != nil {
		return nil, made.ended(err, stream)
	}
	return response, nil
}

// Stream is a call in which both sides speak as they like; it has the deadline of its context, and none without.
type Stream[Q proto.Message, R any] struct {
	made   *call
	stream grpc.ClientStream
}

func opened[Q proto.Message, R any](
	ctx context.Context, client *Client, path string, options []CallOption,
) (*Stream[Q, R], error) {
	made := client.call(path, options)
	made.changes = true
	stream, err := made.open(made.outgoing(ctx), both, nil)
	if err != nil {
		return nil, made.ended(err, nil)
	}
	return &Stream[Q, R]{made, stream}, nil
}

// Send sends a message. [io.EOF] says that the call has ended: [Stream.Receive] tells why.
func (s *Stream[Q, R]) Send(request Q) error {
	err := s.stream.SendMsg(withTenant(request, s.made.client.tenant))
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.made.ended(err, s.stream)
}

// CloseSend says that nothing more is sent.
func (s *Stream[Q, R]) CloseSend() error { return s.stream.CloseSend() }

// Receive returns the next message, or [io.EOF] at the end of a call that was answered. A caller that stops before that
// cancels the context.
func (s *Stream[Q, R]) Receive() (*R, error) {
	response := new(R)
	err := s.stream.RecvMsg(response)
	switch {
	case err == nil:
		return response, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	return nil, s.made.ended(err, s.stream)
}
