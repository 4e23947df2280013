package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// OpKind is what IncrementalAlterConfigs does with a value; the numbers are Kafka's (KIP-339).
type OpKind int8

// The operations. Append and Subtract are for LIST keys.
const (
	SetValue    OpKind = 0
	DeleteValue OpKind = 1
	AppendValue OpKind = 2
	Subtract    OpKind = 3
)

// Op is one change of one key.
type Op struct {
	Key   string
	Kind  OpKind
	Value *string // nil only for DeleteValue
}

// ValidateTopic checks the values with which a topic is created. Only an internal topic may be compacted. Errors are *Error.
func ValidateTopic(configs map[string]string, internal bool) error {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if err := validateTopicValue(name, configs[name], internal); err != nil {
			return err
		}
	}
	return nil
}

func validateTopicValue(name, value string, internal bool) error {
	k, ok := topicKeys[name]
	if !ok {
		return &Error{Key: name, Message: unknown(name, topicKeys)}
	}
	value = strings.TrimSpace(value)
	if name == "cleanup.policy" {
		compact := slices.Contains(splitList(value), "compact")
		switch {
		case compact && !internal:
			return &Error{Key: name, Value: value, Message: "compaction of user topics is not offered yet; use delete"}
		case !compact && internal:
			return &Error{Key: name, Value: value, Message: "an internal topic must stay compacted"}
		}
	}
	if err := k.validate(value); err != nil {
		return &Error{Key: name, Value: value, Message: err.Error()}
	}
	return nil
}

// AlterTopic turns operations on a topic, whose own values are current, into validated sets and deletes. Nothing is half done: the first
// bad operation is the error (*Error) for the whole topic.
func (c *Config) AlterTopic(current map[string]string, internal bool, ops []Op) (sets map[string]string, deletes []string, err error) {
	inherited := func(key string) string { v, _ := c.topicValue(key, nil); return v }
	sets, deletes, err = apply(topicKeys, current, inherited, ops)
	if err != nil {
		return nil, nil, err
	}
	return sets, deletes, ValidateTopic(sets, internal)
}

// AlterBroker turns operations on a node's dynamic values, or on those of all nodes, into validated sets and deletes. current are the
// dynamic values in place at that level. A key that needs a restart is refused.
func (c *Config) AlterBroker(current map[string]string, ops []Op) (sets map[string]string, deletes []string, err error) {
	for _, op := range ops {
		if k, ok := brokerKeys[op.Key]; ok && !k.Dynamic {
			return nil, nil, &Error{Key: op.Key, Message: "cannot change while the node runs; set it in the file and restart"}
		}
	}
	sets, deletes, err = apply(brokerKeys, current, c.text, ops)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		if err := brokerKeys[name].validate(sets[name]); err != nil {
			return nil, nil, &Error{Key: name, Value: sets[name], Message: err.Error()}
		}
	}
	return sets, deletes, nil
}

func apply(keys map[string]*Key, current map[string]string, inherited func(string) string, ops []Op) (map[string]string, []string, error) {
	sets := map[string]string{}
	var deletes []string
	seen := map[string]bool{}
	for _, op := range ops {
		k, ok := keys[op.Key]
		switch {
		case seen[op.Key]:
			return nil, nil, &Error{Key: op.Key, Message: "named twice in one request", Malformed: true}
		case op.Kind < SetValue || op.Kind > Subtract:
			return nil, nil, &Error{Key: op.Key, Message: fmt.Sprintf("unknown operation %d", op.Kind), Malformed: true}
		case op.Value == nil && op.Kind != DeleteValue:
			return nil, nil, &Error{Key: op.Key, Message: "null is no value; delete the key instead", Malformed: true}
		case op.Kind == DeleteValue && (ok || current[op.Key] != ""):
			deletes = append(deletes, op.Key) // also of a key that this version does not know
		case !ok:
			return nil, nil, &Error{Key: op.Key, Message: unknown(op.Key, keys)}
		case op.Kind == SetValue:
			sets[op.Key] = strings.TrimSpace(*op.Value)
		case k.Type != List:
			return nil, nil, &Error{Key: op.Key, Message: "append and subtract are for lists; its type is " + k.Type.String()}
		default:
			old, set := current[op.Key]
			if !set {
				old = inherited(op.Key)
			}
			sets[op.Key] = changeList(old, *op.Value, op.Kind)
		}
		seen[op.Key] = true
	}
	return sets, deletes, nil
}

func changeList(old, value string, kind OpKind) string {
	list := splitList(old)
	for _, v := range splitList(value) {
		at := slices.Index(list, v)
		switch {
		case kind == AppendValue && at < 0:
			list = append(list, v)
		case kind == Subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ",")
}
