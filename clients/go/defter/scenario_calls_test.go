package defter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"defter.example/defter/clients/go/defter"
)

// scenario is the story so far.
type scenario struct {
	client *defter.Client
	saved  map[string]any
}

var variable = regexp.MustCompile(`\$\{([a-z_.]+)\}`)

// text puts the values of variables into a text.
func (s *scenario) text(text string) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		var value any = s.saved
		for _, name := range strings.Split(variable.FindStringSubmatch(found)[1], ".") {
			value = value.(map[string]any)[name]
		}
		return value.(string)
	})
}

// method returns the client's own method for `package.Service/Method`.
func (s *scenario) method(t *testing.T, path string) reflect.Value {
	t.Helper()
	service, name, _ := strings.Cut(path[strings.LastIndex(path, ".")+1:], "/")
	services := reflect.ValueOf(s.client.Services)
	for i := range services.NumField() {
		if services.Field(i).Elem().Type().Name() == service {
			return services.Field(i).MethodByName(name)
		}
	}
	t.Fatalf("the client has no %s", path)
	return reflect.Value{}
}

// answer makes a call through the client's own method, whatever its types are.
func (s *scenario) answer(t *testing.T, each step) (response proto.Message, key string, replayed bool, err error) {
	t.Helper()
	method := s.method(t, each.Method)
	arguments := []reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(s.request(t, each, method))}
	if each.Key != "" {
		arguments = append(arguments, reflect.ValueOf(defter.WithKey(each.Key)))
	}
	results := method.Call(arguments)
	err, _ = results[1].Interface().(error)
	if results[0].IsNil() {
		return nil, "", false, err
	}
	if keyed := results[0].Elem(); keyed.Type().Name() != "" && strings.HasPrefix(keyed.Type().Name(), "Keyed[") {
		response, _ = keyed.FieldByName("Response").Interface().(proto.Message)
		return response, keyed.FieldByName("Key").String(), keyed.FieldByName("Replayed").Bool(), err
	}
	response, _ = results[0].Interface().(proto.Message)
	return response, each.Key, false, err
}

// request makes the request of a step, of the type that a method takes.
func (s *scenario) request(t *testing.T, each step, method reflect.Value) proto.Message {
	t.Helper()
	request := reflect.New(method.Type().In(1).Elem()).Interface().(proto.Message)
	if err := protojson.Unmarshal([]byte(s.text(string(each.Request))), request); err != nil {
		t.Fatal(err)
	}
	return request
}

func (s *scenario) call(t *testing.T, each step) {
	response, key, replayed, err := s.answer(t, each)
	if each.Error != nil {
		s.isRefused(t, each, err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if replayed != each.Replayed {
		t.Errorf("replayed is %t", replayed)
	}
	isKeyed := key != "" || each.Key != ""
	if isKeyed && key != each.Key && (each.Key != "" || len(key) != 26) {
		t.Errorf("the key is %q", key)
	}
	s.has(t, each, response)
}

// has says whether a response has at least what a step says, and keeps it.
func (s *scenario) has(t *testing.T, each step, response proto.Message) {
	t.Helper()
	found := object(t, response)
	if missing := s.missing(found, each.Response); missing != "" {
		t.Errorf("%s in %v", missing, found)
	}
	if each.Save != "" {
		s.saved[each.Save] = found
	}
}

// until makes a call again and again until it has the response.
func (s *scenario) until(t *testing.T, each step) {
	for started := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		response, _, _, err := s.answer(t, each)
		if err != nil {
			t.Fatal(err)
		}
		missing := s.missing(object(t, response), each.Response)
		if missing == "" {
			return
		}
		if time.Since(started) > hang {
			t.Fatalf("still %s", missing)
		}
	}
}

// missing says what differs from what is wanted at least; nothing where all is there.
func (s *scenario) missing(found, wanted any) string {
	switch wanted := wanted.(type) {
	case map[string]any:
		members, _ := found.(map[string]any)
		for name, value := range wanted {
			if missing := s.missing(members[name], value); missing != "" {
				return name + ": " + missing
			}
		}
	case []any:
		elements, _ := found.([]any)
		if len(elements) != len(wanted) {
			return fmt.Sprintf("%d elements, not %d", len(elements), len(wanted))
		}
		for i, value := range wanted {
			if missing := s.missing(elements[i], value); missing != "" {
				return fmt.Sprintf("%d: %s", i, missing)
			}
		}
	case string:
		if found != s.text(wanted) {
			return fmt.Sprintf("%v, not %s", found, s.text(wanted))
		}
	default:
		if found != wanted {
			return fmt.Sprintf("%v, not %v", found, wanted)
		}
	}
	return ""
}

// isRefused says whether an error is the one that a step wants.
func (s *scenario) isRefused(t *testing.T, each step, err error) {
	t.Helper()
	var found *defter.Error
	if !errors.As(err, &found) {
		t.Fatalf("%v is no error of the ledger", err)
	}
	wanted := each.Error
	if !errors.Is(err, defter.Reason(wanted.Reason)) || !errors.Is(err, defter.Kind(wanted.Kind)) {
		t.Errorf("%s is of %s and %s", err, found.Reason, found.Kind)
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + wanted.Code + `"`)); err != nil || code != found.Code {
		t.Errorf("the code is %s", found.Code)
	}
	if found.Replayed != wanted.Replayed || found.OutcomeUnknown {
		t.Errorf("replayed %t, outcome unknown %t", found.Replayed, found.OutcomeUnknown)
	}
	facts := factsOf(found)
	for name, value := range wanted.Fields {
		if facts[name] != s.text(value) {
			t.Errorf("%s is %q", name, facts[name])
		}
	}
}

// factsOf returns the typed facts of an error as texts.
func factsOf(found *defter.Error) map[string]string {
	facts := map[string]string{}
	for _, each := range found.Unwrap() {
		value := reflect.ValueOf(each)
		if value.Kind() != reflect.Pointer || value.Elem().Kind() != reflect.Struct {
			continue
		}
		for i := range value.Elem().NumField() {
			field := value.Elem().Field(i)
			if field.Kind() == reflect.Pointer && !field.IsNil() {
				field = field.Elem()
			}
			facts[value.Elem().Type().Field(i).Tag.Get("fact")] = fmt.Sprint(field.Interface())
		}
	}
	return facts
}

// object returns a message as the scenario writes it.
func object(t *testing.T, message proto.Message) map[string]any {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}
