package defter

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	tenantField    = "tenant_id"
	keyField       = "idempotency_key"
	pageTokenField = "page_token"
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
func withKey(request proto.Message, key string) (proto.Message, string) {
	if own := text(request, keyField); own != "" {
		return request, own
	}
	if key == "" {
		key = NewKey()
	}
	return filled(request, keyField, key), key
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
