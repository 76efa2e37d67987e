package defter

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"

	"google.golang.org/grpc/resolver"
)

// severalScheme is of targets with more than one address.
const severalScheme = "defter"

// target returns what gRPC calls the addresses; whatever has a scheme of gRPC's is left alone.
func target(addresses string) string {
	if strings.Contains(addresses, ",") {
		return severalScheme + ":///" + addresses
	}
	return addresses
}

// severalBuilder makes the resolver of several addresses: each has gRPC's own resolver of names, and all that these find
// is used together.
type severalBuilder struct{}

// Scheme is that of targets with more than one address.
func (severalBuilder) Scheme() string { return severalScheme }

// OverrideAuthority is for proofs by names that are the same at all servers; each address has its own host.
func (severalBuilder) OverrideAuthority(target resolver.Target) string {
	return strings.Split(target.Endpoint(), ",")[0]
}

// Build begins to resolve all addresses of a target.
func (severalBuilder) Build(
	target resolver.Target, conn resolver.ClientConn, options resolver.BuildOptions,
) (resolver.Resolver, error) {
	addresses := strings.Split(target.Endpoint(), ",")
	made := &several{ClientConn: conn, found: make([][]resolver.Address, len(addresses))}
	for i, address := range addresses {
		host, err := hostOf(address)
		if err != nil {
			made.Close()
			return nil, err
		}
		one := &oneOfSeveral{several: made, ClientConn: conn, index: i, host: host}
		part, err := resolver.Get("dns").Build(dnsTarget(address), one, options)
		if err != nil {
			made.Close()
			return nil, err
		}
		made.parts = append(made.parts, part)
	}
	return made, nil
}

func dnsTarget(address string) resolver.Target {
	return resolver.Target{URL: url.URL{Scheme: "dns", Path: "/" + strings.TrimSpace(address)}}
}

func hostOf(address string) (string, error) {
	host, _, err := net.SplitHostPort(strings.TrimSpace(address))
	return host, err
}

// several is what the resolvers of all addresses have found.
type several struct {
	resolver.ClientConn
	parts []resolver.Resolver

	mutex sync.Mutex
	found [][]resolver.Address
}

// ResolveNow asks all again.
func (s *several) ResolveNow(options resolver.ResolveNowOptions) {
	for _, part := range s.parts {
		part.ResolveNow(options)
	}
}

// Close stops all.
func (s *several) Close() {
	for _, part := range s.parts {
		part.Close()
	}
}

// take says what one has found; gRPC learns of all.
func (s *several) take(index int, found []resolver.Address) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.found[index] = found
	var all []resolver.Address
	for _, each := range s.found {
		all = append(all, each...)
	}
	return s.ClientConn.UpdateState(resolver.State{Addresses: all})
}

// fail says that one has found nothing; that counts as long as no other has found anything.
func (s *several) fail(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, each := range s.found {
		if len(each) > 0 {
			return
		}
	}
	s.ClientConn.ReportError(err)
}

// oneOfSeveral takes what is found for one address.
type oneOfSeveral struct {
	resolver.ClientConn
	several *several
	index   int
	host    string
}

// UpdateState takes addresses, which have the certificate of their own host.
func (o *oneOfSeveral) UpdateState(state resolver.State) error {
	var found []resolver.Address
	// Endpoints are the newer way to say the same.
	for _, endpoint := range state.Endpoints {
		found = append(found, endpoint.Addresses...)
	}
	if len(found) == 0 {
		found = append(found, state.Addresses...)
	}
	if len(found) == 0 {
		return errors.New("no addresses of " + o.host)
	}
	for i := range found {
		found[i].ServerName = o.host
	}
	return o.several.take(o.index, found)
}

// ReportError takes why nothing was found.
func (o *oneOfSeveral) ReportError(err error) { o.several.fail(err) }
