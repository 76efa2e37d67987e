package defter_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

// authority makes certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func signs(t *testing.T) *authority {
	t.Helper()
	made := &authority{}
	made.pem, _ = made.issue(t, "authority")
	block, _ := pem.Decode(made.pem)
	made.certificate, _ = x509.ParseCertificate(block.Bytes)
	return made
}

// issue returns a certificate and its key, in PEM; the first one signs the others.
func (a *authority) issue(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IsCA: a.certificate == nil, BasicConstraintsValid: true,
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer, a.key = template, made, made
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, made.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalECPrivateKey(made)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes})
}

// server returns what a server of the authority takes, with a certificate of the caller or without.
func (a *authority) server(t *testing.T, wants tls.ClientAuthType) credentials.TransportCredentials {
	t.Helper()
	certificate, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	callers := x509.NewCertPool()
	callers.AddCert(a.certificate)
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: callers, ClientAuth: wants})
}

// files writes files of a proof into a folder.
func files(t *testing.T, folder string, contents map[string][]byte) {
	t.Helper()
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// callers keeps by what each call was made.
func callers(found *[]string, of func(context.Context) string) *ledger {
	return &ledger{posts: func(
		ctx context.Context, _ *ledgerv1.PostTransactionRequest,
	) (*ledgerv1.PostTransactionResponse, error) {
		*found = append(*found, of(ctx))
		return &ledgerv1.PostTransactionResponse{}, nil
	}}
}

func certificateOf(ctx context.Context) string {
	from, _ := peer.FromContext(ctx)
	return from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].Subject.CommonName
}

func localhost(address string) string { return "localhost" + address[len("127.0.0.1"):] }

// TestReplacedCertificateCounts for new calls, and one that does not go with its key leaves the one before.
func TestReplacedCertificateCounts(t *testing.T) {
	signer, folder := signs(t), t.TempDir()
	var found []string
	address := callers(&found, certificateOf).serves(t, signer.server(t, tls.RequireAndVerifyClientCert))
	certificate, key := signer.issue(t, "ann")
	files(t, folder, map[string][]byte{"ca": signer.pem, "crt": certificate, "key": key})
	client := opened(t, localhost(address), defter.WithProof(defter.Proof{
		AuthorityFile:   filepath.Join(folder, "ca"),
		CertificateFile: filepath.Join(folder, "crt"),
		KeyFile:         filepath.Join(folder, "key"),
	}))
	calling(t, client)
	certificate, key = signer.issue(t, "bob")
	files(t, folder, map[string][]byte{"crt": certificate})
	defter.LookNow(client)
	calling(t, client)
	files(t, folder, map[string][]byte{"key": key})
	defter.LookNow(client)
	calling(t, client)
	if len(found) != 3 || found[0] != "ann" || found[1] != "ann" || found[2] != "bob" {
		t.Error(found)
	}
}

// TestConnectionThatWasReplacedIsClosedAfterItsLastCall and not before.
func TestConnectionThatWasReplacedIsClosedAfterItsLastCall(t *testing.T) {
	signer, folder := signs(t), t.TempDir()
	var found []string
	server := callers(&found, certificateOf)
	server.watches = recordThenNothing
	address := server.serves(t, signer.server(t, tls.RequireAndVerifyClientCert))
	certificate, key := signer.issue(t, "ann")
	files(t, folder, map[string][]byte{"ca": signer.pem, "crt": certificate, "key": key})
	client := opened(t, localhost(address), defter.WithProof(defter.Proof{
		AuthorityFile:   filepath.Join(folder, "ca"),
		CertificateFile: filepath.Join(folder, "crt"),
		KeyFile:         filepath.Join(folder, "key"),
	}))
	for _, err := range client.Journal.WatchJournal(context.Background(), defter.Checkpoint{}) {
		if err != nil {
			t.Fatal(err)
		}
		certificate, key = signer.issue(t, "bob")
		files(t, folder, map[string][]byte{"crt": certificate, "key": key})
		defter.LookNow(client)
		calling(t, client)
		if defter.Leaving(client) != 1 {
			t.Error("the watch has lost its connection")
		}
		break
	}
	for started := time.Now(); defter.Leaving(client) != 0; {
		if time.Since(started) > hang {
			t.Fatal("the connection is still open")
		}
	}
}

// recordThenNothing sends a record to each watch, and then nothing.
func recordThenNothing(_ *ledgerv1.WatchJournalRequest, stream watcher) error {
	_ = stream.Send(&ledgerv1.WatchJournalResponse{Entries: []*ledgerv1.JournalEntry{{Sequence: 1}}})
	<-stream.Context().Done()
	return nil
}

// TestReplacedTokenCountsAtOnce since it is read at each try.
func TestReplacedTokenCountsAtOnce(t *testing.T) {
	signer, folder := signs(t), t.TempDir()
	var found []string
	address := callers(&found, func(ctx context.Context) string { return header(ctx, "authorization")[0] }).
		serves(t, signer.server(t, tls.NoClientCert))
	files(t, folder, map[string][]byte{"ca": signer.pem, "token": []byte("one\n")})
	client := opened(t, localhost(address), defter.WithProof(defter.Proof{
		AuthorityFile: filepath.Join(folder, "ca"), TokenFile: filepath.Join(folder, "token"),
	}))
	calling(t, client)
	files(t, folder, map[string][]byte{"token": []byte("two")})
	calling(t, client)
	if len(found) != 2 || found[0] != "Bearer one" || found[1] != "Bearer two" {
		t.Error(found)
	}
}

// TestServerOfAnotherAuthorityIsNotCalled however long it is tried.
func TestServerOfAnotherAuthorityIsNotCalled(t *testing.T) {
	folder := t.TempDir()
	var found []string
	address := callers(&found, certificateOf).serves(t, signs(t).server(t, tls.NoClientCert))
	files(t, folder, map[string][]byte{"ca": signs(t).pem})
	client := opened(t, localhost(address), defter.WithProof(defter.Proof{AuthorityFile: filepath.Join(folder, "ca")}))
	_, err := client.Postings.PostTransaction(
		context.Background(), cent(), defter.WithCallTimeout(300*time.Millisecond),
	)
	if err == nil || len(found) != 0 {
		t.Error(err, found)
	}
}

// TestUnusableProofIsRefused with the field that is wrong.
func TestUnusableProofIsRefused(t *testing.T) {
	signer, folder := signs(t), t.TempDir()
	certificate, _ := signer.issue(t, "ann")
	_, other := signer.issue(t, "bob")
	files(t, folder, map[string][]byte{"ca": signer.pem, "crt": certificate, "key": other, "none": {}})
	ca, crt, key := filepath.Join(folder, "ca"), filepath.Join(folder, "crt"), filepath.Join(folder, "key")
	none, away := filepath.Join(folder, "none"), filepath.Join(folder, "away")
	for field, proofs := range map[string][]defter.Proof{
		"AuthorityFile":   {{}, {TokenFile: ca}, {AuthorityFile: none}, {AuthorityFile: away}},
		"CertificateFile": {{AuthorityFile: ca, CertificateFile: crt}, {AuthorityFile: ca, CertificateFile: away, KeyFile: key}},
		"KeyFile":         {{AuthorityFile: ca, KeyFile: key}, {AuthorityFile: ca, CertificateFile: crt, KeyFile: key}},
		"TokenFile": {
			{AuthorityFile: ca, TokenFile: away},
			{AuthorityFile: ca, CertificateFile: crt, KeyFile: key, TokenFile: ca},
		},
	} {
		for _, proof := range proofs {
			_, err := defter.New("localhost:1", defter.WithProof(proof))
			var unusable *defter.ProofError
			if !errors.As(err, &unusable) || unusable.Field != field {
				t.Errorf("%+v: %v", proof, err)
			}
		}
	}
}

// TestSeveralAddressesAreUsedInTurn and one that is away is passed over.
func TestSeveralAddressesAreUsedInTurn(t *testing.T) {
	signer, folder := signs(t), t.TempDir()
	files(t, folder, map[string][]byte{"ca": signer.pem})
	for name, proof := range map[string]*defter.Proof{"plaintext": nil, "TLS": {AuthorityFile: filepath.Join(folder, "ca")}} {
		t.Run(name, func(t *testing.T) {
			var options []defter.Option
			var takes credentials.TransportCredentials
			if proof != nil {
				options, takes = append(options, defter.WithProof(*proof)), signer.server(t, tls.NoClientCert)
			}
			seen := make(chan string, 10_000)
			addresses := closedAddress(t)
			for _, server := range []string{"one", "two"} {
				var found []string
				made := callers(&found, func(context.Context) string { seen <- server; return server })
				addresses += ", " + localhost(made.serves(t, takes))
			}
			client := opened(t, addresses, options...)
			both := map[string]bool{}
			for started := time.Now(); len(both) < 2; {
				calling(t, client)
				both[<-seen] = true
				if time.Since(started) > hang {
					t.Fatalf("only %v was called", both)
				}
			}
		})
	}
}

func calling(t *testing.T, client *defter.Client) {
	t.Helper()
	if _, err := client.Postings.PostTransaction(context.Background(), cent()); err != nil {
		t.Fatal(err)
	}
}
