package defter

import (
	"time"

	"google.golang.org/grpc"
)

// Version is that of the client; the server sees it as user agent.
const Version = "0.1.0"

const usualTimeout = 10 * time.Second

// Client calls a ledger; all its methods may be used by many goroutines at once.
type Client struct {
	Services

	conn    *connection
	tenant  string
	timeout time.Duration
	trace   TraceParent
}

// New prepares a client; it connects at the first call.
//
// Addresses are one `host:port`, or several with commas between them, which are used in turn; of a name that has several
// addresses, all are. Without [WithProof] the way is plaintext, for a server on the same machine.
//
// It fails with [*ProofError] where the files of a proof can't be used.
func New(addresses string, options ...Option) (*Client, error) {
	settings := settings{timeout: usualTimeout}
	for _, option := range options {
		option(&settings)
	}
	if settings.timeout == 0 {
		settings.timeout = usualTimeout
	}
	conn, err := connect(addresses, &settings)
	if err != nil {
		return nil, err
	}
	client := &Client{conn: conn, tenant: settings.tenant, timeout: settings.timeout, trace: settings.trace}
	client.addServices()
	return client, nil
}

// Close closes the connections; calls under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// Conn returns the way to the ledger for generated stubs, without keys, retries and typed errors.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }
