package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Type is the type of a key as DescribeConfigs states it (KIP-569).
type Type int8

// The types in use; the numbers are Kafka's.
const (
	Boolean Type = 1
	String  Type = 2
	Int     Type = 3
	Short   Type = 4
	Long    Type = 5
	Double  Type = 6
	List    Type = 7
)

func (t Type) String() string {
	return map[Type]string{Boolean: "boolean", String: "string", Int: "int", Short: "short", Long: "long", Double: "double", List: "list"}[t]
}

// Key describes one configuration key.
type Key struct {
	Name      string
	Type      Type
	Default   string
	NoDefault bool     // unset unless set: DescribeConfigs shows null
	Dynamic   bool     // a broker key that IncrementalAlterConfigs changes while the node runs; always true for topic keys
	Unlisted  bool     // shown only when set: its default states something that does not exist here
	Broker    []string // for a topic key: the broker keys that give its default, strongest first
	Valid     string   // the valid values in words, "" = any of the type
	Doc       string
	check     func(text string) error // after the type's own check
}

// validate checks a trimmed text against the key's type and bounds.
func (k *Key) validate(text string) error {
	var err error
	switch k.Type {
	case Boolean:
		if !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
			err = fmt.Errorf("not a boolean; write true or false")
		}
	case Short, Int, Long:
		_, err = parseInt(text, k.Type)
	case Double:
		if _, perr := strconv.ParseFloat(text, 64); perr != nil {
			err = fmt.Errorf("not a number")
		}
	}
	if err != nil {
		return err
	}
	if k.check != nil {
		return k.check(text)
	}
	return nil
}

func parseInt(text string, t Type) (int64, error) {
	bits := map[Type]int{Short: 16, Int: 32, Long: 64}[t]
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("not a whole number of %d bits", bits)
	}
	return n, nil
}

// atLeast bounds a number from below.
func atLeast(low int64) func(*Key) {
	return func(k *Key) {
		k.Valid = fmt.Sprintf("≥ %d", low)
		k.check = func(text string) error {
			if n, _ := parseInt(text, Long); n < low {
				return fmt.Errorf("must be at least %d", low)
			}
			return nil
		}
	}
}

// between bounds a number on both sides, inclusive.
func between(low, high int64) func(*Key) {
	return func(k *Key) {
		k.Valid = fmt.Sprintf("%d to %d", low, high)
		k.check = func(text string) error {
			if n, _ := parseInt(text, Long); n < low || n > high {
				return fmt.Errorf("must be between %d and %d", low, high)
			}
			return nil
		}
	}
}

// oneOf lists the valid values.
func oneOf(values ...string) func(*Key) {
	return func(k *Key) {
		k.Valid = strings.Join(values, ", ")
		k.check = func(text string) error {
			for _, v := range values {
				if text == v {
					return nil
				}
			}
			return fmt.Errorf("must be one of %s", strings.Join(values, ", "))
		}
	}
}

// only accepts the one value that is true of this node; why says what is not done.
func only(value, why string) func(*Key) {
	return func(k *Key) {
		k.Valid = "only " + quoted(value)
		k.check = func(text string) error {
			same := text == value || k.Type == Boolean && strings.EqualFold(text, value)
			if a, err := strconv.ParseFloat(text, 64); err == nil && k.Type == Double {
				b, _ := strconv.ParseFloat(value, 64)
				same = a == b
			}
			if !same {
				return fmt.Errorf("only %s is supported: %s", quoted(value), why)
			}
			return nil
		}
	}
}

func quoted(value string) string {
	if value == "" {
		return "the empty value"
	}
	return value
}

// dynamic marks a broker key that can change while the node runs.
func dynamic(k *Key) { k.Dynamic = true }

// noDefault marks a key that is unset unless set.
func noDefault(k *Key) { k.NoDefault = true }

// unlisted marks a key that is shown only when set.
func unlisted(k *Key) { k.Unlisted = true }

// from names the broker keys that give a topic key its default.
func from(names ...string) func(*Key) { return func(k *Key) { k.Broker = names } }

func key(name string, t Type, def, doc string, opts ...func(*Key)) *Key {
	k := &Key{Name: name, Type: t, Default: def, Doc: doc}
	for _, o := range opts {
		o(k)
	}
	return k
}

func index(keys []*Key) map[string]*Key {
	m := make(map[string]*Key, len(keys))
	for _, k := range keys {
		if m[k.Name] != nil {
			panic("config: two keys " + k.Name)
		}
		m[k.Name] = k
	}
	return m
}

var (
	brokerKeys = index(brokerSchema)
	topicKeys  = index(topicSchema)
)

// BrokerKeys returns the schema of the node's keys, sorted by name.
func BrokerKeys() []*Key { return sorted(brokerSchema) }

// TopicKeys returns the schema of the topics' keys, sorted by name.
func TopicKeys() []*Key { return sorted(topicSchema) }

func sorted(keys []*Key) []*Key {
	all := append([]*Key(nil), keys...)
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// unknown explains an unknown key: a key of Kafka's that has no meaning here, or the nearest valid one.
func unknown(name string, keys map[string]*Key) string {
	if why, ok := unused[name]; ok {
		return "is a key of Apache Kafka that chronik does not use (" + why + "); remove it"
	}
	best, distance := "", len(name)/2+2
	for candidate := range keys {
		if d := editDistance(name, candidate); d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return "unknown key; docs/configuration.md lists the valid ones"
	}
	return "unknown key; did you mean " + best + "?"
}

// editDistance is the Levenshtein distance of two keys.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
