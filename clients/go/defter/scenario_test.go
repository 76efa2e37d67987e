package defter_test

import (
	"encoding/json"
	"os"
	"testing"

	"defter.example/defter/clients/go/defter"
)

const scenarioFile = "../../scenario/scenario.json"

// step is one step of the scenario; clients/scenario/README.md says what its members mean.
type step struct {
	Name          string          `json:"name"`
	Do            string          `json:"do"`
	Method        string          `json:"method"`
	Request       json.RawMessage `json:"request"`
	Key           string          `json:"key"`
	Save          string          `json:"save"`
	Response      map[string]any  `json:"response"`
	Replayed      bool            `json:"replayed"`
	Error         *refusal        `json:"error"`
	Count         int             `json:"count"`
	First         map[string]any  `json:"first"`
	Item          json.RawMessage `json:"item"`
	ReplayedCount int             `json:"replayed_count"`
	BreakAfter    []int           `json:"break_after"`
	After         int64           `json:"after"`
	Until         string          `json:"until"`
	Resume        bool            `json:"resume"`
}

type refusal struct {
	Reason   string            `json:"reason"`
	Code     string            `json:"code"`
	Kind     string            `json:"kind"`
	Replayed bool              `json:"replayed"`
	Fields   map[string]string `json:"fields"`
}

// TestScenario runs the story that all clients run, with the same results.
func TestScenario(t *testing.T) {
	tenant := environment(t, "DEFTER_TEST_TENANT")
	run := &scenario{
		client: opened(t, environment(t, "DEFTER_TEST_TARGET"), defter.WithTenant(tenant)),
		saved:  map[string]any{"tenant": tenant},
	}
	text, err := os.ReadFile(scenarioFile)
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Steps []step `json:"steps"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	for _, each := range told.Steps {
		// Each step stands on those before it.
		if !t.Run(each.Name, func(t *testing.T) { run.do(t, each) }) {
			t.FailNow()
		}
	}
}

func (s *scenario) do(t *testing.T, each step) {
	switch each.Do {
	case "", "call":
		s.call(t, each)
	case "until":
		s.until(t, each)
	case "list":
		s.list(t, each)
	case "stream":
		s.stream(t, each)
	case "watch":
		s.watch(t, each)
	default:
		t.Fatalf("nobody knows how to %s", each.Do)
	}
}
