package defter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// The files are looked at by a call, at most this often.
const lookInterval = 2 * time.Second

// connection is the way to a ledger. A connection of gRPC has its certificates for good, so another one is made once their
// files have changed; calls under way end on the one before.
type connection struct {
	make  func(credentials.TransportCredentials) (*grpc.ClientConn, error)
	proof *Proof

	mutex    sync.Mutex
	open     *counted
	leaving  map[*counted]struct{}
	isClosed bool
	lookedAt time.Time
	stamps   stamps
	contents contents
	problem  string
}

// counted is a connection of gRPC with the number of calls that are under way on it.
type counted struct {
	*grpc.ClientConn
	underWay int
}

func connect(addresses string, settings *settings) (*connection, error) {
	made := &connection{proof: settings.proof, leaving: map[*counted]struct{}{}}
	made.make = func(proof credentials.TransportCredentials) (*grpc.ClientConn, error) {
		return dial(addresses, proof, settings)
	}
	if made.proof == nil {
		return made, made.replace(insecure.NewCredentials())
	}
	made.stamps, made.lookedAt = made.proof.stamps(), time.Now()
	found, err := made.proof.read()
	if err != nil {
		return nil, err
	}
	return made, made.use(found)
}

// use opens a connection by what the files say.
func (c *connection) use(found contents) error {
	config, err := c.proof.tls(found)
	if err != nil {
		return err
	}
	c.contents = found
	return c.replace(credentials.NewTLS(config))
}

func (c *connection) replace(proof credentials.TransportCredentials) error {
	conn, err := c.make(proof)
	if err != nil {
		return err
	}
	before := c.open
	c.open = &counted{ClientConn: conn}
	if before != nil {
		c.leaving[before] = struct{}{}
		c.closeUnused(before)
	}
	return nil
}

// take returns the connection for a call that begins now.
func (c *connection) take() (*counted, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.isClosed {
		return nil, status.Error(codes.Canceled, "the client is closed")
	}
	if c.proof != nil && time.Since(c.lookedAt) >= lookInterval {
		c.look()
	}
	c.open.underWay++
	return c.open, nil
}

// look reads the files again if they have changed. Files that can't be used leave what is open.
func (c *connection) look() {
	c.lookedAt = time.Now()
	stamps := c.proof.stamps()
	if stamps == c.stamps {
		return
	}
	found, err := c.proof.read()
	if err == nil && found != c.contents {
		err = c.use(found)
	}
	if err == nil {
		c.stamps, c.problem = stamps, ""
		return
	}
	// The stamps stay old, so it is read again: perhaps one file of two was replaced so far.
	if c.problem != err.Error() {
		slog.Error("the proof is not read, the last one stays", "error", err)
		c.problem = err.Error()
	}
}

func (c *connection) give(back *counted) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	back.underWay--
	c.closeUnused(back)
}

func (c *connection) closeUnused(left *counted) {
	if _, isLeaving := c.leaving[left]; isLeaving && left.underWay == 0 {
		delete(c.leaving, left)
		// Nobody is there any more who could be told.
		_ = left.Close()
	}
}

// Close closes all that is open.
func (c *connection) Close() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.isClosed {
		return nil
	}
	c.isClosed = true
	closed := c.open.Close()
	for each := range c.leaving {
		closed = errors.Join(closed, each.Close())
	}
	clear(c.leaving)
	return closed
}

// closed says whether the client has closed it.
func (c *connection) closed() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.isClosed
}

// Invoke makes a unary call.
func (c *connection) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	conn, err := c.take()
	if err != nil {
		return err
	}
	defer c.give(conn)
	return conn.Invoke(ctx, method, args, reply, options...)
}

// NewStream begins a call of several messages, which is under way until it ends or its context does.
func (c *connection) NewStream(
	ctx context.Context, kind *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, err := c.take()
	if err != nil {
		return nil, err
	}
	var once sync.Once
	give := func() { once.Do(func() { c.give(conn) }) }
	options = append(options[:len(options):len(options)], grpc.OnFinish(func(error) { give() }))
	stream, err := conn.NewStream(ctx, kind, method, options...)
	if err != nil {
		give()
	}
	return stream, err
}
