package defter

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

const (
	replayedKey  = "idempotent-replayed"
	requestIDKey = "x-request-id"
	domain       = "defter"
)

// failed returns the error of a call of gRPC that has failed.
func failed(err error, trailer metadata.MD, key string) *Error {
	// Of an error that is not gRPC's, such as the context's, it makes a status as well.
	told := status.Convert(fromContext(err))
	found := &Error{
		Code:      told.Code(),
		Message:   told.Message(),
		Key:       key,
		Replayed:  first(trailer, replayedKey) == "true",
		RequestID: first(trailer, requestIDKey),
		status:    told,
	}
	for _, detail := range told.Details() {
		found.take(detail)
	}
	found.classify()
	return found
}

// take reads one detail; what is not known says nothing.
func (e *Error) take(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.GetDomain() != domain {
			// Something between has reasons of its own; they are none of the ledger's.
			return
		}
		e.Reason, e.Metadata = Reason(detail.GetReason()), detail.GetMetadata()
	case *errdetails.RetryInfo:
		e.AsksRetry, e.RetryDelay = true, max(detail.GetRetryDelay().AsDuration(), 0)
	case *errdetails.RequestInfo:
		e.RequestID = detail.GetRequestId()
	}
}

// classify adds what follows from reason and metadata.
func (e *Error) classify() {
	e.Kind = kindOf(e.Reason, e.Code)
	if known, ok := reasons[e.Reason]; ok {
		e.Kind = known.kind
	}
	e.facts = factsOf(e.Reason, e.Metadata)
	e.Index = integer(e.Metadata["index"])
}

// leavesOpen says whether the error does not tell what became of the try. Most reasons tell that nothing was begun; a
// reason that is not known tells nothing.
func (e *Error) leavesOpen() bool {
	if _, ok := reasons[e.Reason]; ok {
		return e.Reason == ErrStoreUnavailable || e.Reason == ErrPersonalKeysMissing || e.Reason == ErrInternal
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	}
	return false
}

// RejectionError returns the error that a refusal of an item is, in a batch, a stream or the journal: the same as if a
// call had been refused. It is nil for a rejection that is nil.
func RejectionError(rejection *ledgerv1.Rejection, key string, replayed bool) error {
	if rejection == nil {
		return nil
	}
	found := &Error{
		Reason:   reasonOfNumber(rejection.GetReason()),
		Message:  rejection.GetMessage(),
		Metadata: rejection.GetMetadata(),
		Key:      key,
		Replayed: replayed,
	}
	found.Code = codes.Unknown
	if known, ok := reasons[found.Reason]; ok {
		found.Code = known.code
	}
	found.status = status.New(found.Code, found.Message)
	found.classify()
	return found
}

func fromContext(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}

func first(trailer metadata.MD, name string) string {
	if found := trailer.Get(name); len(found) > 0 {
		return found[0]
	}
	return ""
}
