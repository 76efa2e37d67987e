package defter_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"defter.example/defter/clients/go/defter"
	ledgerv1 "defter.example/defter/clients/go/gen/defter/ledger/v1"
)

const (
	callCount = 1_000
	inFlight  = 64
	killCount = 10
)

// TestKilledServer makes calls while the server is killed again and again: each takes effect once, none fails, and a
// watch beside them sees each once.
func TestKilledServer(t *testing.T) {
	tenant := "go-" + strings.ToLower(defter.NewKey())
	client := opened(t, environment(t, "DEFTER_TEST_FRAGILE_TARGET"), defter.WithTenant(tenant))
	opens(t, client, tenant)

	seen := make(chan map[string]int)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { seen <- watched(ctx, t, client) }()
	calls(t, client)
	if t.Failed() {
		// The watch would wait for a call that has failed.
		cancel()
	}

	for key, count := range <-seen {
		if count != 1 {
			t.Errorf("the watch has seen %s %d times", key, count)
		}
	}
	balance, err := client.Accounts.GetBalance(context.Background(), &ledgerv1.GetBalanceRequest{AccountId: "player"})
	if err != nil {
		t.Fatal(err)
	}
	if posted := balance.GetBalance().GetPostedBalanceMinor(); posted != callCount {
		t.Errorf("the player has %d after %d calls", posted, callCount)
	}
}

// opens makes a tenant with a house and a player.
func opens(t *testing.T, client *defter.Client, tenant string) {
	t.Helper()
	if _, err := client.Tenants.CreateTenant(context.Background(), &ledgerv1.CreateTenantRequest{TenantId: tenant}); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]ledgerv1.AccountKind{
		"house":  ledgerv1.AccountKind_ACCOUNT_KIND_ASSET,
		"player": ledgerv1.AccountKind_ACCOUNT_KIND_LIABILITY,
	} {
		account := &ledgerv1.NewAccount{AccountId: name, Kind: kind, CurrencyCode: "EUR"}
		if _, err := client.Accounts.OpenAccount(context.Background(), &ledgerv1.OpenAccountRequest{Account: account}); err != nil {
			t.Fatal(err)
		}
	}
}

// calls posts a cent in each call, many at once; after each so many of them the server is killed.
func calls(t *testing.T, client *defter.Client) {
	t.Helper()
	var done atomic.Int64
	var group sync.WaitGroup
	kills := make(chan struct{}, killCount)
	next := make(chan int)
	for range inFlight {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range next {
				if _, err := client.Postings.PostTransaction(
					context.Background(), cent(), defter.WithKey(fmt.Sprintf("call-%d", number)),
				); err != nil {
					t.Errorf("call %d: %v", number, err)
				}
				if done.Add(1)%(callCount/(killCount+1)) == 0 {
					select {
					case kills <- struct{}{}:
					default:
					}
				}
			}
		}()
	}
	group.Add(1)
	go func() {
		defer group.Done()
		for range killCount {
			<-kills
			breaks(t, "/kill")
		}
	}()
	for number := range callCount {
		next <- number
	}
	close(next)
	group.Wait()
}

// watched reads the journal until it has seen a posting of each call; it returns how often it has seen each key.
func watched(ctx context.Context, t *testing.T, client *defter.Client) map[string]int {
	seen := map[string]int{}
	for entry, err := range client.Journal.WatchJournal(ctx, defter.Checkpoint{}, defter.WithChainVerified()) {
		if err != nil {
			t.Error(err)
			return seen
		}
		if entry.GetRecord().GetTransactionPosted() != nil {
			seen[entry.GetRecord().GetRequest().GetIdempotencyKey()]++
		}
		if len(seen) == callCount {
			return seen
		}
	}
	return seen
}
