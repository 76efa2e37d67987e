package defter_test

import (
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"defter.example/defter/clients/go/defter"
)

// hang is how long a test waits before it takes something to be stuck, on a machine that is busy with other things.
const hang = 10 * time.Minute

// environment returns a variable of clients/scenario/README.md, or skips the test.
func environment(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("DEFTER_TEST_TARGET") == "" {
		t.Skip("DEFTER_TEST_TARGET is not set: there is no server")
	}
	found := os.Getenv(name)
	if found == "" {
		t.Fatalf("%s is not set", name)
	}
	return found
}

// breaks asks the hand that breaks servers to do it.
func breaks(t *testing.T, what string) {
	t.Helper()
	response, err := http.Post(environment(t, "DEFTER_TEST_CONTROL")+what, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %s", what, response.Status)
	}
}

// opened returns a client that is closed with the test.
func opened(t *testing.T, addresses string, options ...defter.Option) *defter.Client {
	t.Helper()
	client, err := defter.New(addresses, append([]defter.Option{defter.WithTimeout(hang)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// closedAddress is an address at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
