package defter

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	tenantField    = "tenant_id"
	keyField       = "idempotency_key"
	pageTokenField = "page_token"
	itemsField     = "items"
)

// withTenant returns a request with a tenant where it names none; the caller's message is never changed.
func withTenant(request proto.Message, tenant string) proto.Message {
	if tenant == "" {
		return request
	}
	return filled(request, tenantField, tenant)
}

// withKey returns a request with a key, and the key. Where neither request nor caller has one it is made here, once for
// all tries.
func withKey(request proto.Message, given callSettings) (proto.Message, string) {
	if own := text(request, keyField); own != "" {
		return request, own
	}
	key := given.key
	if !given.hasKey {
		key = NewKey()
	}
	return filled(request, keyField, key), key
}

// keysOf returns the keys that the items of a batch have.
func keysOf(request proto.Message) []string {
	reflected := request.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName(itemsField)
	if field == nil || !field.IsList() || field.Message() == nil {
		return nil
	}
	var keys []string
	for i := range reflected.Get(field).List().Len() {
		if key := text(reflected.Get(field).List().Get(i).Message().Interface(), keyField); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// filled returns the request with a text in a field that is empty; a request without that field stays as it is.
func filled(request proto.Message, name protoreflect.Name, value string) proto.Message {
	field := request.ProtoReflect().Descriptor().Fields().ByName(name)
	if field == nil || text(request, name) != "" {
		return request
	}
	copied := proto.Clone(request)
	copied.ProtoReflect().Set(field, protoreflect.ValueOfString(value))
	return copied
}

// text returns what a field says; nothing where there is no such field.
func text(request proto.Message, name protoreflect.Name) string {
	reflected := request.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName(name)
	if field == nil {
		return ""
	}
	return reflected.Get(field).String()
}
