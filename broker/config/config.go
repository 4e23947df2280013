// Package config is the configuration of a node and of its topics, under Kafka's own names.
//
// The idea: one schema (keys.go, topic_keys.go) says of every key its type, default, validation, documentation and whether it changes
// while the node runs. The property file, the environment, the flags, IncrementalAlterConfigs, DescribeConfigs and docs/configuration.md
// all read that schema, so that they cannot disagree. A key is in it only if this node honours it; a key that common tools set although
// nothing here depends on it accepts the one value that is true of this node and refuses every other with the reason.
//
// The guarantee: a value that was accepted is honoured and reads back as it was set, with its true source. An unknown key is an error that
// names the nearest valid one. Getters never fail: whatever is stored was validated, and a stored value that no longer is valid (written
// by another version) counts as absent.
//
// The API: New, then LoadProperties, LoadEnv and Set in any order (a flag wins over the environment over the file over the default), then
// Validate. After that a Config is immutable and safe for concurrent use; WithDynamic returns another one on top of the dynamic values
// that the cluster's metadata holds. Topic resolves the settings of a topic, Entries and TopicEntries answer DescribeConfigs,
// AlterTopic and AlterBroker turn a request into validated sets and deletes.
package config

import (
	"fmt"
	"maps"
	"sort"
	"strings"
)

// Origin says where a static value comes from. A higher origin wins.
type Origin uint8

// The origins, weakest first.
const (
	Default Origin = iota
	File
	Env
	Flag
)

func (o Origin) String() string {
	return [...]string{"default", "file", "env", "flag"}[min(o, Flag)]
}

// Error is a refused key or value. The wire answers INVALID_CONFIG, or INVALID_REQUEST if Malformed.
type Error struct {
	Key, Value string
	Where      string // file and line, variable or flag; empty for a request
	Message    string // what is wrong and what would be right
	Malformed  bool   // the request itself makes no sense, whatever the value
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	if e.Value != "" {
		fmt.Fprintf(&b, "%s=%s: ", e.Key, e.Value)
	} else {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// setting is one static value.
type setting struct {
	text   string
	origin Origin
	where  string
}

// Config is the configuration of one node: static values, and dynamic ones on top.
type Config struct {
	static        map[string]setting
	node, cluster map[string]string // dynamic values, of this node and of all
}

// New returns a Config of defaults only.
func New() *Config { return &Config{static: map[string]setting{}} }

// Set sets a broker key. A value of a weaker origin than the one in place is validated, then ignored; of the same origin the last wins.
// where (file and line, variable, flag) goes into errors and Origin. Errors are *Error.
func (c *Config) Set(key, value string, origin Origin, where string) error {
	key = strings.TrimSpace(key)
	if a, ok := aliases[key]; ok {
		key = a
	}
	k, ok := brokerKeys[key]
	if !ok {
		return &Error{Key: key, Where: where, Message: unknown(key, brokerKeys)}
	}
	value = strings.TrimSpace(value)
	if err := k.validate(value); err != nil {
		return &Error{Key: key, Value: value, Where: where, Message: err.Error()}
	}
	if old, ok := c.static[key]; !ok || origin >= old.origin {
		c.static[key] = setting{text: value, origin: origin, where: where}
	}
	return nil
}

// SetPair is Set for "KEY=VALUE", as `--set` takes it.
func (c *Config) SetPair(pair string, origin Origin, where string) error {
	key, value, ok := strings.Cut(pair, "=")
	if !ok {
		return &Error{Key: pair, Where: where, Message: "no value; write KEY=VALUE"}
	}
	return c.Set(key, value, origin, where)
}

// LoadProperties sets what a Java properties file says. name is used in errors. Every error is reported, joined, so that one run
// of the node shows all of them.
func (c *Config) LoadProperties(name string, data []byte) error {
	props, err := parseProperties(data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var errs []error
	for _, p := range props {
		if err := c.Set(p.key, p.value, File, fmt.Sprintf("%s:%d", name, p.line)); err != nil {
			errs = append(errs, err)
		}
	}
	return joinLines(errs)
}

// EnvPrefix begins the variables that LoadEnv reads: CHRONIKD_LOG_RETENTION_MS is log.retention.ms.
const EnvPrefix = "CHRONIKD_"

// LoadEnv sets what variables with EnvPrefix say. environ is as of os.Environ; the named variables are someone else's and skipped.
func (c *Config) LoadEnv(environ []string, skip ...string) error {
	ignored := map[string]bool{}
	for _, s := range skip {
		ignored[s] = true
	}
	sorted := append([]string(nil), environ...)
	sort.Strings(sorted)
	var errs []error
	for _, pair := range sorted {
		name, value, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || ignored[name] {
			continue
		}
		key := strings.ToLower(strings.ReplaceAll(rest, "_", "."))
		if err := c.Set(key, value, Env, "environment variable "+name); err != nil {
			errs = append(errs, err)
		}
	}
	return joinLines(errs)
}

// Validate checks what no single key can: bounds between keys, listeners against advertised ones. Call it once all values are set.
func (c *Config) Validate() error {
	var errs []error
	if lo, hi := c.GroupMinSessionTimeoutMs(), c.GroupMaxSessionTimeoutMs(); lo > hi {
		errs = append(errs, &Error{Key: "group.min.session.timeout.ms", Value: fmt.Sprint(lo),
			Message: fmt.Sprintf("is above group.max.session.timeout.ms=%d; lower it or raise the maximum", hi)})
	}
	if seg, size := c.JournalSegmentBytes(), c.JournalMaxBytes(); size < 4*seg {
		errs = append(errs, &Error{Key: "chronik.journal.max.bytes", Value: fmt.Sprint(size),
			Message: fmt.Sprintf("is less than four journal segments of %d bytes; raise it or lower chronik.journal.segment.bytes", seg)})
	}
	if err := c.validateListeners(); err != nil {
		errs = append(errs, err)
	}
	return joinLines(errs)
}

// WithDynamic returns a Config of c's static values with these dynamic values on top: node wins over cluster wins over static.
func (c *Config) WithDynamic(cluster, node map[string]string) *Config {
	return &Config{static: c.static, cluster: maps.Clone(cluster), node: maps.Clone(node)}
}

// Origin returns the static value of a broker key, where it was set ("" for a default), and its origin. ok is false for unknown keys.
func (c *Config) Origin(key string) (value string, origin Origin, where string, ok bool) {
	k, ok := brokerKeys[key]
	if !ok {
		return "", Default, "", false
	}
	if s, set := c.static[key]; set {
		return s.text, s.origin, s.where, true
	}
	return k.Default, Default, "", true
}

// lookup returns the value of a broker key in force and its source. ok is false if the key is unset and has no default.
func (c *Config) lookup(key string) (value string, source Source, ok bool) {
	k, known := brokerKeys[key]
	if !known {
		panic("config: getter of an unknown key " + key)
	}
	if k.Dynamic {
		if v, set := c.node[key]; set && k.validate(v) == nil {
			return v, DynamicBroker, true
		}
		if v, set := c.cluster[key]; set && k.validate(v) == nil {
			return v, DynamicDefaultBroker, true
		}
	}
	if s, set := c.static[key]; set {
		return s.text, StaticBroker, true
	}
	return k.Default, DefaultConfig, !k.NoDefault
}

// joinLines joins errors, one a line; nil if there are none.
func joinLines(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return joined(errs)
}

// joined is several errors, one a line.
type joined []error

func (j joined) Error() string {
	lines := make([]string, len(j))
	for i, err := range j {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

func (j joined) Unwrap() []error { return j }
