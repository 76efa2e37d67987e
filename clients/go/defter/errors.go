package defter

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is the rule that a request broke: the name of an ErrorReason of error.proto, without its prefix.
//
// The reasons are the constants Err..., to be used with errors.Is. A newer server may answer one that is not among them.
type Reason string

// Error returns the name of the reason.
func (r Reason) Error() string { return string(r) }

// Kind says what a caller does about an error; errors.Is finds it in every [Error].
type Kind string

// The kinds of errors.
const (
	// KindRetry is for the same call later, with the same key.
	KindRetry Kind = "retry"
	// KindRequest is for whoever mends the caller.
	KindRequest Kind = "request"
	// KindAccess is for whoever gives the caller the right to do it.
	KindAccess Kind = "access"
	// KindRefused says that the state of the ledger does not allow it: decide anew, with a new key.
	KindRefused Kind = "refused"
	// KindFault says that something failed that should not: ask GetOutcome, or make the same call with the same key.
	KindFault Kind = "fault"
)

// Error returns the name of the kind.
func (k Kind) Error() string { return string(k) }

// Error is a call that was not answered as it was meant to be: refused by the ledger, or not brought to it.
type Error struct {
	// Code is the gRPC code.
	Code codes.Code
	// Reason is the rule that was broken; empty where the answer did not come from the ledger.
	Reason Reason
	// Kind says what to do.
	Kind Kind
	// Message is a sentence for a person; its wording may change.
	Message string
	// Metadata has the facts that error.proto names at the reason, as they came.
	Metadata map[string]string
	// RequestID names the call in the ledger's log lines; empty where the server did not answer itself.
	RequestID string
	// Key is the idempotency key of the call, or of the item that was refused; of a stream of transactions, of the first item
	// without a result. It is empty where there is none.
	Key string
	// Keys are those of all items without a known result, in their order: of a stream of transactions, of which items behind
	// them were not read from their source, and of a batch. Whether they may have taken effect is OutcomeUnknown; send them
	// again with the same keys.
	Keys []string
	// Replayed says whether an earlier call with the same key had been refused, and this is that answer.
	Replayed bool
	// AsksRetry says whether the server asks to come again with the same call.
	AsksRetry bool
	// RetryDelay is how long the server wants the caller to wait for that, at least.
	RetryDelay time.Duration
	// OutcomeUnknown says that the call may have taken effect all the same. Only the same key is safe then: make the same
	// call again, or ask GetOutcome. A call with a new key is another one, and may pay twice.
	OutcomeUnknown bool
	// Index is the item of a batch that is to blame, from 0; nil where none is.
	Index *int64

	facts  error
	status *status.Status
}

// Error returns reason and message.
func (e *Error) Error() string {
	name := string(e.Reason)
	if name == "" {
		name = e.Code.String()
	}
	return fmt.Sprintf("%s: %s", name, e.Message)
}

// Retryable says whether the same call, with the same key, may be answered soon: the server is away, or asks for it.
func (e *Error) Retryable() bool {
	return e.Code == codes.Unavailable || e.AsksRetry
}

// GRPCStatus returns the status as it came, for code that works with those of gRPC.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// Unwrap returns what errors.Is and errors.As find in the error: its reason, its kind, its typed facts, and the error of
// the context where that has ended.
func (e *Error) Unwrap() []error {
	found := []error{e.Kind}
	if e.Reason != "" {
		found = append(found, e.Reason)
	}
	if e.facts != nil {
		found = append(found, e.facts)
	}
	switch e.Code {
	case codes.Canceled:
		found = append(found, context.Canceled)
	case codes.DeadlineExceeded:
		found = append(found, context.DeadlineExceeded)
	}
	return found
}

// decides says whether a reason decides what becomes of the key: then no earlier try has done something else.
func (r Reason) decides() bool {
	return reasons[r].number > lastUndecided || r == ErrIdempotencyKeyReused
}

// Reasons up to here say that this call has decided nothing.
const lastUndecided = 99

// kindOf returns what to do about an error whose reason is not known, perhaps because the server is newer.
func kindOf(reason Reason, code codes.Code) Kind {
	switch code {
	case codes.Unauthenticated, codes.PermissionDenied:
		return KindAccess
	case codes.InvalidArgument:
		return KindRequest
	case codes.Unavailable:
		return KindRetry
	case codes.Internal:
		return KindFault
	}
	switch {
	case reason == "":
		return KindFault
	case code == codes.ResourceExhausted:
		return KindRetry
	}
	return KindRefused
}
