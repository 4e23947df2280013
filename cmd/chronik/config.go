package main

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/config"
)

// newConfig is the family of settings.
func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show and change settings of topics, brokers and the cluster",
		Long: `Ask a cluster, chronik's or Apache Kafka's, for its settings and change them while it runs. 'config show' instead shows the settings
with which 'chronik serve' would start here.

Settings belong to a topic, to one broker, or to the cluster, which means all brokers. A topic's own value wins over the broker's, that
over the cluster's, that over what the broker was started with, that over the default.`,
		Example: "  chronik config list\n  chronik config describe topic orders retention.ms",
		GroupID: groupAdminister,
	}
	return family(cmd, newConfigList(a), newConfigDescribe(a), newConfigSet(a), newConfigUnset(a), newConfigShow(a))
}

// configKind is whose setting it is, with the protocol's numbers.
type configKind = kmsg.ConfigResourceType

const (
	topicConfig  = kmsg.ConfigResourceTypeTopic
	brokerConfig = kmsg.ConfigResourceTypeBroker
)

// configTarget names a topic, a broker by its number, or all brokers with "".
type configTarget struct {
	kind configKind
	name string
}

func (t configTarget) String() string {
	switch {
	case t.kind == topicConfig:
		return "topic " + t.name
	case t.name == "":
		return "cluster"
	}
	return "broker " + t.name
}

// entity is the kind in a word.
func (t configTarget) entity() string {
	word, _, _ := strings.Cut(t.String(), " ")
	return word
}

const targetUsage = "(topic NAME | broker ID | cluster)"

// parseTarget takes the target from the front of the arguments and returns the rest.
func parseTarget(args []string) (configTarget, []string, error) {
	switch {
	case len(args) > 0 && args[0] == "cluster":
		return configTarget{kind: brokerConfig}, args[1:], nil
	case len(args) > 1 && args[0] == "topic":
		return configTarget{topicConfig, args[1]}, args[2:], nil
	case len(args) > 1 && args[0] == "broker":
		if _, err := strconv.ParseInt(args[1], 10, 32); err != nil {
			return configTarget{}, nil, usagef("broker %s is no broker's number; 'chronik cluster describe' lists them", args[1])
		}
		return configTarget{brokerConfig, args[1]}, args[2:], nil
	}
	return configTarget{}, nil, usagef("whose settings? write %s first", strings.Trim(targetUsage, "()"))
}

// setting is KEY=VALUE.
type setting struct{ key, value string }

func settings(pairs []string) ([]setting, error) {
	var all []setting
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, usagef("%q is no setting; write KEY=VALUE, as retention.ms=86400000", pair)
		}
		all = append(all, setting{key, value})
	}
	return all, nil
}

// configLine is one key with the value in force.
type configLine struct {
	Key       string          `json:"key"`
	Value     *string         `json:"value"`  // null = unset, or withheld
	Source    string          `json:"source"` // topic, broker, cluster, start (file, environment or flags of the broker), default
	ReadOnly  bool            `json:"read_only"`
	Sensitive bool            `json:"sensitive,omitempty"`
	Shadows   []configShadows `json:"shadows,omitempty"` // values that would be in force without this one, strongest first
	Doc       string          `json:"documentation,omitempty"`
}

type configShadows struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"`
	Source string  `json:"source"`
}

func (c configLine) text() string {
	switch {
	case c.Sensitive:
		return "(withheld)"
	case c.Value == nil:
		return "(unset)"
	}
	return *c.Value
}

func sourceText(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "topic"
	case kmsg.ConfigSourceDynamicBrokerConfig:
		return "broker"
	case kmsg.ConfigSourceDynamicDefaultBrokerConfig:
		return "cluster"
	case kmsg.ConfigSourceStaticBrokerConfig:
		return "start"
	case kmsg.ConfigSourceDefaultConfig:
		return "default"
	}
	return strings.ToLower(s.String())
}

// describeConfigs returns all keys of a target, sorted.
func (s *session) describeConfigs(target configTarget) ([]configLine, error) {
	if err := s.hasBroker(target); err != nil {
		return nil, err
	}
	all, err := s.describeManyConfigs([]configTarget{target})
	if err != nil {
		return nil, err
	}
	return all[target], nil
}

// hasBroker is an error if the target is a broker that the cluster does not have.
func (s *session) hasBroker(target configTarget) error {
	if target.kind != brokerConfig || target.name == "" {
		return nil
	}
	brokers, err := s.admin.ListBrokers(s.ctx)
	if err != nil {
		return s.failed("list the brokers", err)
	}
	for _, id := range brokers.NodeIDs() {
		if strconv.Itoa(int(id)) == target.name {
			return nil
		}
	}
	return &exitError{code: exitNotFound, err: fmt.Errorf("no broker %s at %s; it has %s", target.name, s.address, numbers(brokers.NodeIDs()))}
}

// describeManyConfigs asks for several targets at once; each must exist.
func (s *session) describeManyConfigs(targets []configTarget) (map[configTarget][]configLine, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	for _, t := range targets {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = t.kind, t.name
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(s.ctx, s.Client)
	if err != nil {
		return nil, s.failed("read the settings", err)
	}
	all := map[configTarget][]configLine{}
	for _, r := range resp.Resources {
		t := configTarget{r.ResourceType, r.ResourceName}
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, s.noTarget(t, brokerError(err, deref(r.ErrorMessage)))
		}
		for _, c := range r.Configs {
			line := configLine{
				Key: c.Name, Value: c.Value, Source: sourceText(c.Source), ReadOnly: c.ReadOnly, Sensitive: c.IsSensitive, Doc: deref(c.Documentation),
			}
			for i, syn := range c.ConfigSynonyms {
				if i > 0 { // the first one is in force
					line.Shadows = append(line.Shadows, configShadows{syn.Name, syn.Value, sourceText(syn.Source)})
				}
			}
			all[t] = append(all[t], line)
		}
		sort.Slice(all[t], func(i, j int) bool { return all[t][i].Key < all[t][j].Key })
	}
	for _, t := range targets {
		if _, answered := all[t]; !answered && t != (configTarget{kind: brokerConfig}) { // a cluster without settings is no error
			return nil, s.noTarget(t, errors.New("the answer does not mention it"))
		}
	}
	return all, nil
}

func (s *session) noTarget(t configTarget, err error) error {
	if t.kind == topicConfig && errors.Is(err, kerr.UnknownTopicOrPartition) {
		return s.noTopic(t.name)
	}
	return s.failed("read the settings of "+t.String(), err)
}

// changed are the lines with this source.
func changed(all []configLine, source string) []configLine {
	own := []configLine{}
	for _, c := range all {
		if c.Source == source {
			own = append(own, c)
		}
	}
	return own
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// similarKey adds the nearest known key to a broker's complaint about a setting.
func similarKey(err error, kind configKind, pairs []setting) error {
	if !errors.Is(err, kerr.InvalidConfig) && !errors.Is(err, kerr.InvalidRequest) {
		return err
	}
	keys := config.TopicKeys()
	if kind == brokerConfig {
		keys = config.BrokerKeys()
	}
	names, known := make([]string, len(keys)), map[string]bool{}
	for i, k := range keys {
		names[i], known[k.Name] = k.Name, true
	}
	for _, p := range pairs {
		like := similar(p.key, names)
		if known[p.key] || like == "" || strings.Contains(err.Error(), "did you mean "+like) {
			continue
		}
		err = fmt.Errorf("%w; did you mean %s?", err, like)
	}
	return err
}

// ownedSetting is one line of `config list`.
type ownedSetting struct {
	Entity string `json:"entity"` // topic, broker or cluster
	Name   string `json:"name"`   // of the topic or broker; empty for the cluster
	configLine
}

type settingTotals struct {
	Settings int `json:"settings"`
}

func newConfigList(a *app) *cobra.Command {
	o := &clientOptions{}
	var start, internal bool
	cmd := &cobra.Command{
		Use:   "list [topic | broker | cluster]",
		Short: "List every setting that somebody changed, of all topics and brokers",
		Long: `List what differs from the defaults because somebody set it while the cluster ran: of topics, of single brokers, of the cluster.
--start adds what the brokers were started with, --internal the topics that the brokers keep for themselves.`,
		Example:   "  chronik config list\n  chronik config list topic -o ndjson",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []cobra.Completion{"topic", "broker", "cluster"},
		RunE: o.asking(func(s *session, args []string) error {
			only := ""
			if len(args) > 0 {
				only = args[0]
			}
			all, err := s.ownedSettings(only, start, internal)
			if err != nil {
				return err
			}
			return a.listSettings(all)
		}),
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also of the brokers' own topics")
	cmd.Flags().BoolVar(&start, "start", false, "also what brokers were started with: file, environment, flags")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// ownedSettings asks all targets of a kind, or of all kinds with "".
func (s *session) ownedSettings(only string, start, internal bool) ([]ownedSetting, error) {
	meta, err := s.admin.Metadata(s.ctx)
	if err != nil {
		return nil, s.failed("list topics and brokers", err)
	}
	targets := []configTarget{{kind: brokerConfig}}
	for _, b := range meta.Brokers {
		targets = append(targets, configTarget{brokerConfig, strconv.Itoa(int(b.NodeID))})
	}
	if !internal {
		meta.Topics.FilterInternal()
	}
	for _, t := range meta.Topics.Sorted() {
		targets = append(targets, configTarget{topicConfig, t.Topic})
	}
	all, err := s.describeManyConfigs(targets)
	if err != nil {
		return nil, err
	}
	var owned []ownedSetting
	for _, t := range targets {
		entity := t.entity()
		if only != "" && only != entity {
			continue
		}
		for _, c := range all[t] {
			if c.Source == entity || start && entity == "broker" && c.Source == "start" {
				owned = append(owned, ownedSetting{Entity: entity, Name: t.name, configLine: c})
			}
		}
	}
	return owned, nil
}

func (a *app) listSettings(all []ownedSetting) error {
	p := a.newPrinter("config-list", &tabular[ownedSetting, settingTotals]{
		headers: []string{"of", "name", "key", "value", "source"},
		row: func(c ownedSetting) []string {
			return []string{c.Entity, orDash(c.Name), c.Key, c.text(), c.Source}
		},
		end: func(sum settingTotals, w io.Writer) error {
			if sum.Settings > 0 {
				return nil
			}
			_, err := fmt.Fprintln(w, "nothing was changed: defaults, and what the brokers were started with, are in force")
			return err
		},
	})
	for _, c := range all {
		if err := p.Item(c); err != nil {
			return err
		}
	}
	return p.Close(settingTotals{len(all)})
}
