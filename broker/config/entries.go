package config

import "sort"

// Source is where a value in force comes from, with the numbers of DescribeConfigs (KIP-226).
type Source int8

// The sources in use.
const (
	DynamicTopic         Source = 1
	DynamicBroker        Source = 2
	DynamicDefaultBroker Source = 3
	StaticBroker         Source = 4
	DefaultConfig        Source = 5
)

// Entry is one key as DescribeConfigs and CreateTopics answer it.
type Entry struct {
	Name      string
	Value     *string // nil = unset
	Source    Source
	ReadOnly  bool // cannot be altered while the node runs
	Sensitive bool // the value is withheld; no key is sensitive so far
	Type      Type
	Doc       string
	Synonyms  []Synonym // every value that could be in force, the one that is first
}

// Synonym is one value of a key, in force or shadowed.
type Synonym struct {
	Name   string
	Value  string
	Source Source
}

// TopicEntries describes a topic with these values of its own: every key, sorted by name.
func (c *Config) TopicEntries(overrides map[string]string) []Entry {
	var all []Entry
	for _, k := range topicSchema {
		if _, set := overrides[k.Name]; k.Unlisted && !set {
			continue
		}
		value, source := c.topicValue(k.Name, overrides)
		e := Entry{Name: k.Name, Value: &value, Source: source, Type: k.Type, Doc: k.Doc}
		if v, ok := overrides[k.Name]; ok {
			e.Synonyms = append(e.Synonyms, Synonym{k.Name, v, DynamicTopic})
		}
		e.Synonyms = append(e.Synonyms, c.synonyms(k.Broker)...)
		if n := len(e.Synonyms); n == 0 || e.Synonyms[n-1].Source != DefaultConfig {
			e.Synonyms = append(e.Synonyms, Synonym{k.Name, k.Default, DefaultConfig})
		}
		all = append(all, e)
	}
	return byName(all)
}

// BrokerEntries describes this node: every key, sorted by name.
func (c *Config) BrokerEntries() []Entry {
	var all []Entry
	for _, k := range brokerSchema {
		value, source, ok := c.lookup(k.Name)
		e := Entry{Name: k.Name, Source: source, ReadOnly: !k.Dynamic, Type: k.Type, Doc: k.Doc, Synonyms: c.synonyms([]string{k.Name})}
		if ok {
			e.Value = &value
		}
		all = append(all, e)
	}
	return byName(all)
}

// ClusterEntries describes the dynamic defaults of all nodes, which DescribeConfigs asks for with an empty broker name.
func (c *Config) ClusterEntries() []Entry {
	var all []Entry
	for name, value := range c.cluster {
		k, ok := brokerKeys[name]
		if !ok {
			continue
		}
		all = append(all, Entry{Name: name, Value: &value, Source: DynamicDefaultBroker, Type: k.Type, Doc: k.Doc,
			Synonyms: []Synonym{{name, value, DynamicDefaultBroker}}})
	}
	return byName(all)
}

// synonyms lists the values of broker keys, strongest source first, and within a source in the order of names.
func (c *Config) synonyms(names []string) []Synonym {
	var all []Synonym
	layers := []struct {
		source Source
		get    func(name string) (string, bool)
	}{
		{DynamicBroker, func(n string) (string, bool) { v, ok := c.node[n]; return v, ok && brokerKeys[n].Dynamic }},
		{DynamicDefaultBroker, func(n string) (string, bool) { v, ok := c.cluster[n]; return v, ok && brokerKeys[n].Dynamic }},
		{StaticBroker, func(n string) (string, bool) { s, ok := c.static[n]; return s.text, ok }},
		{DefaultConfig, func(n string) (string, bool) { k := brokerKeys[n]; return k.Default, !k.NoDefault }},
	}
	for _, layer := range layers {
		for _, name := range names {
			if v, ok := layer.get(name); ok {
				all = append(all, Synonym{name, v, layer.source})
			}
		}
	}
	return all
}

func byName(all []Entry) []Entry {
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}
