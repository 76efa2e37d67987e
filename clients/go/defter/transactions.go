package defter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

const (
	// How many items may be without a result: they are kept, to be sent again after a break.
	mostUnanswered = 2_000
	// A message has what is there, up to so much of it; a server takes 4 MiB.
	mostItems = 100
	mostBytes = 1 << 20

	longestKey = 255
)

// StreamTransactions posts items as they come, and yields their results in the same order, one for each. An item without
// a key gets one. After a break those without a result are sent again, which their keys make harmless.
//
// Items are copied as they are read, in another goroutine and ahead of their results; it ends at the first item after the
// caller wants no more. An item that can't be written, such as one whose text is no UTF-8, ends the source like its last
// one: results of those before it come first, and then its error, of [KindRequest] and with its key.
//
// The stream has the deadline of its context, and none without; but where items wait and no result comes for as long as a
// call may take, it ends. Its error is the last that it yields, an [*Error] whose Keys are those of all items without a
// result: they may have taken effect. A refused item is a result, of which [RejectionError] makes an error.
func (s *PostingService) StreamTransactions(
	ctx context.Context, items iter.Seq[*ledgerv1.PostTransactionItem], options ...CallOption,
) iter.Seq2[*ledgerv1.PostTransactionResult, error] {
	return func(yield func(*ledgerv1.PostTransactionResult, error) bool) {
		made := s.client.call(ledgerv1.PostingService_StreamTransactions_FullMethodName, options)
		made.changes = true
		ctx, cancel := context.WithCancel(made.outgoing(ctx))
		defer cancel()
		posting := &transactions{
			made:   made,
			coming: make(chan *ledgerv1.PostTransactionItem, mostItems),
			room:   make(chan struct{}, mostUnanswered),
		}
		go posting.feed(ctx, items)
		for {
			failure, isWanted := posting.connection(ctx, yield)
			if !isWanted {
				return
			}
			if failure == nil {
				posting.sourceEnded(yield)
				return
			}
			if !posting.goesOn(ctx, failure) {
				yield(nil, posting.last(made.last(ctx, failure)))
				return
			}
		}
	}
}

// transactions are the items of a stream on their way.
type transactions struct {
	made   *call
	tries  tries
	coming chan *ledgerv1.PostTransactionItem
	// room has one entry for each item without a result.
	room chan struct{}

	mutex      sync.Mutex
	unanswered []*ledgerv1.PostTransactionItem
	isAllRead  bool
	// keys are those of all items that were read and have no result, in their order; they begin with the unanswered.
	keys []string
	// waitsSince says since when there is no result although an item waits for one.
	waitsSince time.Time

	// What has ended the source other than its last item; to be read once all is read.
	sourceError *Error
	sourcePanic any
}

// goesOn waits for the next connection; false says that there is none. The time for it begins with the first failure
// after something has come through: until then the caller may have been at work on results.
func (t *transactions) goesOn(ctx context.Context, failure *Error) bool {
	if t.tries.failures == 0 {
		t.tries.deadline = t.made.left(ctx)
	}
	return t.tries.another(ctx, failure)
}

// feed reads the caller's items, and gives keys to those without.
func (t *transactions) feed(ctx context.Context, items iter.Seq[*ledgerv1.PostTransactionItem]) {
	defer close(t.coming)
	// In this goroutine nobody could recover from it; the caller can where results are read.
	defer func() { t.sourcePanic = recover() }()
	for item := range items {
		kept, err := keptOf(item)
		if err != nil {
			t.sourceError = err
			return
		}
		t.mutex.Lock()
		t.keys = append(t.keys, kept.GetIdempotencyKey())
		t.mutex.Unlock()
		select {
		case t.coming <- kept:
		case <-ctx.Done():
			return
		}
	}
}

// keptOf returns a copy of an item with a key: the caller may use the message again, and it may have to be sent again.
func keptOf(item *ledgerv1.PostTransactionItem) (*ledgerv1.PostTransactionItem, *Error) {
	if item == nil {
		return nil, failed(status.Error(codes.InvalidArgument, "an item is nil"), nil, "")
	}
	kept := proto.Clone(item).(*ledgerv1.PostTransactionItem)
	if kept.IdempotencyKey == "" {
		kept.IdempotencyKey = NewKey()
	}
	// What can't be written would end the connection, and tell of no item.
	if _, err := proto.Marshal(kept); err != nil {
		text := fmt.Sprintf("item %q can't be written: %v", kept.IdempotencyKey, err)
		return nil, failed(status.Error(codes.InvalidArgument, text), nil, kept.IdempotencyKey)
	}
	return kept, nil
}

// sourceEnded tells what has ended the source, where that was not its last item.
func (t *transactions) sourceEnded(yield func(*ledgerv1.PostTransactionResult, error) bool) {
	if t.sourcePanic != nil {
		panic(t.sourcePanic)
	}
	if t.sourceError != nil {
		yield(nil, t.sourceError)
	}
}

// connection sends and receives until all is done (nil), or the connection ends; false says that the caller wants no more.
func (t *transactions) connection(
	ctx context.Context, yield func(*ledgerv1.PostTransactionResult, error) bool,
) (*Error, bool) {
	connected, cancel := context.WithCancel(ctx)
	var sending sync.WaitGroup
	// Nothing may take items any more when another connection sends again what has no result.
	defer sending.Wait()
	defer cancel()
	stream, err := t.made.open(connected, both, nil)
	if err != nil {
		return t.made.ended(err, nil), true
	}
	silence := t.silence(cancel)
	defer silence.stop()
	sending.Add(1)
	go func() {
		defer sending.Done()
		t.send(connected, stream)
	}()
	for {
		response := &ledgerv1.StreamTransactionsResponse{}
		if err := stream.RecvMsg(response); err != nil {
			if silence.isDue() {
				err = errNoResult
			}
			return t.broken(err, stream), true
		}
		t.tries = tries{}
		// While the caller works on results nobody waits for the server.
		silence.pause()
		for _, result := range response.GetResults() {
			if failure := t.settle(result); failure != nil {
				return failure, true
			}
			if !yield(result, nil) {
				return nil, false
			}
		}
		silence.goOn(len(response.GetResults()) > 0)
	}
}

// send sends what has no result yet, and then what comes. Where sending fails, receiving tells why.
func (t *transactions) send(ctx context.Context, stream grpc.ClientStream) {
	t.mutex.Lock()
	items := append([]*ledgerv1.PostTransactionItem(nil), t.unanswered...)
	isAllRead := t.isAllRead
	t.mutex.Unlock()
	for {
		for len(items) > 0 {
			var message []*ledgerv1.PostTransactionItem
			message, items = split(items)
			request := &ledgerv1.StreamTransactionsRequest{TenantId: t.made.client.tenant, Items: message}
			if stream.SendMsg(request) != nil {
				return
			}
		}
		if isAllRead {
			// It can't fail in a way that receiving does not tell.
			_ = stream.CloseSend()
			return
		}
		if items, isAllRead = t.next(ctx); ctx.Err() != nil {
			return
		}
	}
}

// next waits for an item, and takes what else is there; it says whether these were the last.
func (t *transactions) next(ctx context.Context) (items []*ledgerv1.PostTransactionItem, isLast bool) {
	// Nobody else takes items or room, so what is there stays.
	for len(items) == 0 || len(items) < mostItems && len(t.coming) > 0 && len(t.room) < cap(t.room) {
		item, isLast := t.one(ctx)
		if item == nil {
			return items, isLast
		}
		items = append(items, item)
	}
	return items, false
}

// one takes an item once there is room for it; nil where it was the last, or the context has ended.
func (t *transactions) one(ctx context.Context) (item *ledgerv1.PostTransactionItem, isLast bool) {
	select {
	case t.room <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	select {
	case item, ok := <-t.coming:
		t.mutex.Lock()
		defer t.mutex.Unlock()
		if ok {
			if len(t.unanswered) == 0 {
				t.waitsSince = time.Now()
			}
			t.unanswered = append(t.unanswered, item)
			return item, false
		}
		<-t.room
		t.isAllRead = true
		return nil, true
	case <-ctx.Done():
		<-t.room
		return nil, false
	}
}

// settle takes the result of the oldest item without one.
func (t *transactions) settle(result *ledgerv1.PostTransactionResult) *Error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if len(t.unanswered) == 0 || told(t.unanswered[0].GetIdempotencyKey()) != result.GetIdempotencyKey() {
		text := "a result came of " + result.GetIdempotencyKey() + ", which is not the next item"
		return failed(status.Error(codes.Internal, text), nil, result.GetIdempotencyKey())
	}
	t.unanswered, t.keys = t.unanswered[1:], t.keys[1:]
	<-t.room
	return nil
}

// told returns how much of a key a result says: of one that is too long, the first characters.
func told(key string) string {
	if characters := []rune(key); len(characters) > longestKey {
		return string(characters[:longestKey])
	}
	return key
}

// broken returns why a connection has ended; nil where all is done.
func (t *transactions) broken(err error, stream grpc.ClientStream) *Error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	// Of a stream that has all its results it does not matter how the call ended.
	if t.isAllRead && len(t.unanswered) == 0 {
		return nil
	}
	if !errors.Is(err, io.EOF) {
		return t.made.ended(err, stream)
	}
	return failed(status.Error(codes.Unavailable, "the server has ended the stream"), nil, "")
}

// last adds to the error that ends the stream what is known of the items: each that was sent may have been decided without
// its result having come, whatever the last connection ended with.
func (t *transactions) last(failure *Error) *Error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	failure.OutcomeUnknown = len(t.unanswered) > 0
	if failure.Keys = append([]string(nil), t.keys...); len(failure.Keys) > 0 {
		failure.Key = failure.Keys[0]
	}
	return failure
}

// split returns the items of one message, and the rest.
func split(items []*ledgerv1.PostTransactionItem) (message, rest []*ledgerv1.PostTransactionItem) {
	size := 0
	for i, item := range items {
		size += proto.Size(item)
		if i == mostItems || i > 0 && size > mostBytes {
			return items[:i], items[i:]
		}
	}
	return items, nil
}
