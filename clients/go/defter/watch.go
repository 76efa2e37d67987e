package defter

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

const (
	usualHeartbeat = 10 * time.Second
	// After this many heartbeats of silence a connection is taken to be broken.
	silentHeartbeats = 2.5
)

// WatchOption says something about a watch.
type WatchOption func(*watch)

// WithWatchTenant names the tenant; without, it is the client's.
func WithWatchTenant(tenant string) WatchOption {
	return func(w *watch) { w.tenant = tenant }
}

// WithHeartbeat says after how much silence the server sends a sign of life, in whole seconds from 1 to 300; 10 s without.
// Two and a half times as long a silence is a broken connection.
func WithHeartbeat(interval time.Duration) WatchOption {
	// The server knows whole seconds.
	return func(w *watch) { w.heartbeat = max(interval.Round(time.Second), time.Second) }
}

// WithChainVerified checks the chain hash of each record against the one before, and reads the record from the bytes
// that were hashed. A record that does not follow ends the watch with [*ChainError].
func WithChainVerified() WatchOption {
	return func(w *watch) { w.isVerified = true }
}

// WithOnBreak is told of each break, before the watch goes on.
func WithOnBreak(told func(error)) WatchOption {
	return func(w *watch) { w.onBreak = told }
}

// WithWatchCallOptions adds options of a call to each connection.
func WithWatchCallOptions(options ...CallOption) WatchOption {
	return func(w *watch) { w.options = append(w.options, options...) }
}

// watch is an endless way through the journal.
type watch struct {
	client     *Client
	tenant     string
	heartbeat  time.Duration
	isVerified bool
	onBreak    func(error)
	options    []CallOption

	last     Checkpoint
	failures int
}

// WatchJournal yields the journal's records behind a checkpoint, without end: first what is there, then what is being
// written. After a break it goes on behind the last record that it has yielded, for as long as the context lasts.
//
// Only an answer ends it, which is the last that it yields: an [*Error] that says the caller may not watch, asks in a
// wrong way, or for a tenant or a place that does not exist ([ErrNotYetRecorded]); a [*GapError] or a [*ChainError]; or
// the end of the context. [CheckpointOf] a record is what the caller stores with what it has made of the record, and gives
// to the next watch.
func (s *JournalService) WatchJournal(
	ctx context.Context, after Checkpoint, options ...WatchOption,
) iter.Seq2[*ledgerv1.JournalEntry, error] {
	return func(yield func(*ledgerv1.JournalEntry, error) bool) {
		watching := &watch{client: s.client, tenant: s.client.tenant, heartbeat: usualHeartbeat, last: after}
		for _, option := range options {
			option(watching)
		}
		for {
			failure := watching.connection(ctx, yield)
			if failure == nil {
				return
			}
			if isAnswer(failure) || !watching.goesOn(ctx, failure) {
				yield(nil, ended(ctx, failure))
				return
			}
		}
	}
}

// connection yields what one connection brings; it returns why that has ended, or nil where the caller wants no more.
func (w *watch) connection(ctx context.Context, yield func(*ledgerv1.JournalEntry, error) bool) error {
	made := w.client.call(ledgerv1.JournalService_WatchJournal_FullMethodName, w.options)
	ctx, cancel := context.WithCancelCause(made.outgoing(ctx))
	defer cancel(nil)
	silence := time.AfterFunc(w.silence(), func() { cancel(errSilent) })
	defer silence.Stop()
	stream, err := made.open(ctx, receives, w.request())
	for err == nil {
		response := &ledgerv1.WatchJournalResponse{}
		if err = stream.RecvMsg(response); err != nil {
			break
		}
		w.failures = 0
		// While the caller works on the records nothing is read, which is no silence of the server.
		silence.Stop()
		if isWanted, err := w.deliver(response.GetEntries(), yield); err != nil || !isWanted {
			return err
		}
		silence.Reset(w.silence())
	}
	return w.broken(ctx, err, made, stream)
}

var errSilent = status.Error(codes.Unavailable, "the server has been silent for too long")

// broken returns why a connection has ended.
func (w *watch) broken(ctx context.Context, err error, made *call, stream grpc.ClientStream) error {
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return failed(errSilent, nil, "")
	case errors.Is(err, io.EOF):
		return failed(status.Error(codes.Unavailable, "the server has ended the stream"), nil, "")
	}
	return made.ended(err, stream)
}

// deliver yields records; it says whether the caller wants more.
func (w *watch) deliver(
	entries []*ledgerv1.JournalEntry, yield func(*ledgerv1.JournalEntry, error) bool,
) (bool, error) {
	for _, entry := range entries {
		if err := w.last.follows(entry); err != nil {
			return false, err
		}
		if w.isVerified {
			if err := w.last.proves(entry); err != nil {
				return false, err
			}
		}
		w.last = CheckpointOf(entry)
		if !yield(entry, nil) {
			return false, nil
		}
	}
	return true, nil
}

// goesOn tells of a break and waits for the next try; false says that the context has ended, or the client is closed.
func (w *watch) goesOn(ctx context.Context, err error) bool {
	if ctx.Err() != nil || w.client.conn.closed() {
		return false
	}
	if w.onBreak != nil {
		w.onBreak(err)
	}
	var asked time.Duration
	var failure *Error
	if errors.As(err, &failure) {
		asked = failure.RetryDelay
	}
	w.failures++
	wait, _ := pause(w.failures, asked, math.MaxInt64, rand.Int64N)
	return sleep(ctx, wait) == nil
}

// isAnswer says whether the same watch would be answered the same again.
func isAnswer(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) {
		return true
	}
	return failure.Kind == KindAccess || failure.Kind == KindRequest ||
		failure.Code == codes.NotFound || failure.Reason == ErrNotYetRecorded
}

// ended returns the error of the context where that is why a watch has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return failed(ctx.Err(), nil, "")
	}
	return err
}

func (w *watch) request() *ledgerv1.WatchJournalRequest {
	return &ledgerv1.WatchJournalRequest{
		TenantId:         w.tenant,
		AfterSequence:    w.last.Sequence,
		HeartbeatSeconds: int32(w.heartbeat / time.Second),
		BytesOnly:        w.isVerified,
	}
}

func (w *watch) silence() time.Duration {
	return time.Duration(silentHeartbeats * float64(w.heartbeat))
}
