package defter

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// page is a response of a list.
type page[R any] interface {
	message[R]
	GetNextPageToken() string
}

// pages fetches a list page by page, each with a deadline and tries of its own. An error is the last that it yields.
func pages[R any, P page[R]](
	ctx context.Context, client *Client, path string, request proto.Message, options []CallOption,
) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		asked := proto.Clone(request)
		for {
			found, err := plain[R, P](ctx, client, path, asked, options, false)
			if !yield(found, err) || err != nil || found.GetNextPageToken() == "" {
				return
			}
			turn(asked, found.GetNextPageToken())
		}
	}
}

// turn asks for the page after a token.
func turn(request proto.Message, token string) {
	reflected := request.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName(pageTokenField)
	reflected.Set(field, protoreflect.ValueOfString(token))
}

// items yields what the pages have.
func items[P, T any](pages iter.Seq2[P, error], of func(P) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for found, err := range pages {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range of(found) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}
