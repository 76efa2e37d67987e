package defter

import (
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errNoResult = status.Error(codes.DeadlineExceeded, "no result has come in time")

// quiet gives a connection up on which items wait and no result comes for as long as a call may take.
type quiet struct {
	items  *transactions
	most   time.Duration
	giveUp func()

	mutex    sync.Mutex
	timer    *time.Timer
	isPaused bool
	due      bool
}

// silence begins to look.
func (t *transactions) silence(giveUp func()) *quiet {
	made := &quiet{items: t, most: t.made.timeout(), giveUp: giveUp}
	made.mutex.Lock()
	defer made.mutex.Unlock()
	t.mutex.Lock()
	t.waitsSince = time.Now()
	t.mutex.Unlock()
	made.timer = time.AfterFunc(made.most, made.look)
	return made
}

// look gives up, or looks again when there may be a reason.
func (q *quiet) look() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.isPaused {
		return
	}
	q.items.mutex.Lock()
	waits := len(q.items.unanswered) > 0 || q.items.isAllRead
	left := q.most
	if waits {
		left = q.most - time.Since(q.items.waitsSince)
	}
	q.items.mutex.Unlock()
	if left > 0 {
		q.timer.Reset(left)
		return
	}
	q.due = true
	q.giveUp()
}

// pause looks no more until goOn.
func (q *quiet) pause() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.isPaused = true
	q.timer.Stop()
}

// goOn looks again; the time begins anew where something has come through.
func (q *quiet) goOn(anew bool) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.isPaused = false
	left := q.most
	q.items.mutex.Lock()
	if anew {
		q.items.waitsSince = time.Now()
	} else if len(q.items.unanswered) > 0 {
		left = max(q.most-time.Since(q.items.waitsSince), 0)
	}
	q.items.mutex.Unlock()
	q.timer.Reset(left)
}

func (q *quiet) stop() { q.pause() }

func (q *quiet) isDue() bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.due
}
