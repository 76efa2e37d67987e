// Package defter calls a ledger: a method for each of its RPCs, with idempotency keys, deadlines, retries and typed
// errors.
//
//	ledger, err := defter.New("127.0.0.1:50051", defter.WithTenant("demo"))
//	posted, err := ledger.Postings.PostTransaction(ctx, request, defter.WithKey("order-17"))
//
// A call that changes something has a key. Whoever moves money for an event of their own gives one that follows from
// the event, so that the same event moves it once, whatever happens to the caller in between.
//
// Errors are [*Error] values: errors.Is knows the reasons ([ErrInsufficientFunds]) and the kinds ([KindRefused]),
// errors.As the facts of a reason ([*InsufficientFundsError]).
package defter
