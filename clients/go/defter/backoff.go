package defter

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstWindow   = 50 * time.Millisecond
	longestWindow = 2 * time.Second
	// Less time than this is not worth another try.
	leastTry = 10 * time.Millisecond
)

// pause returns how long to wait before the next try, and whether there is time for one.
//
// That is what the server asks for, and on top of it full jitter: anything between nothing and a window that doubles with
// each failure. Nobody comes before the server wants it, nor all at once after.
func pause(failures int, asked, left time.Duration, random func(int64) int64) (time.Duration, bool) {
	room := left - asked
	if room < leastTry {
		return 0, false
	}
	window := longestWindow
	// Larger shifts would overflow; the window is at its longest by then.
	if doublings := failures - 1; doublings < 10 {
		window = min(firstWindow<<doublings, longestWindow)
	}
	return asked + time.Duration(random(int64(min(window, room)))), true
}

// tries are the tries of one thing until a deadline.
type tries struct {
	deadline time.Time
	failures int
}

// another counts a failure and waits for the next try; false says at once that there is none.
func (t *tries) another(ctx context.Context, failure *Error) bool {
	t.failures++
	if !failure.Retryable() {
		return false
	}
	wait, worth := pause(t.failures, failure.RetryDelay, time.Until(t.deadline), rand.Int64N)
	return worth && sleep(ctx, wait) == nil
}

// sleep waits, or returns why the context has ended.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
