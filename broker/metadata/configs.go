package metadata

import (
	"maps"

	"chronik.dev/chronik/broker/metapb"
)

// Limits of dynamic configuration. What a key means is checked by the proposer: the state machine must not depend on the schema of the
// version that runs it.
const (
	maxConfigKey   = 256
	maxConfigValue = 32 << 10
	maxConfigs     = 1000 // per resource
	// DefaultBroker names the defaults of all brokers in BrokerConfigs.
	DefaultBroker = -1
)

// editConfigs returns a copy of a configuration with keys deleted, then set. Nil stands for empty.
func editConfigs(old map[string]string, sets []*metapb.Config, deletes []string) (map[string]string, *Error) {
	configs := maps.Clone(old)
	if configs == nil {
		configs = map[string]string{}
	}
	for _, key := range deletes {
		delete(configs, key)
	}
	for _, c := range sets {
		if c.Key == "" || len(c.Key) > maxConfigKey {
			return nil, refuse(metapb.Verdict_INVALID_CONFIG, "configuration key of %d bytes: 1 to %d are allowed", len(c.Key), maxConfigKey)
		}
		if len(c.Value) > maxConfigValue {
			return nil, refuse(metapb.Verdict_INVALID_CONFIG, "value of %s has %d bytes: at most %d are allowed", c.Key, len(c.Value), maxConfigValue)
		}
		configs[c.Key] = c.Value
	}
	if len(configs) > maxConfigs {
		return nil, refuse(metapb.Verdict_LIMIT_EXCEEDED, "%d configuration keys: at most %d are allowed", len(configs), maxConfigs)
	}
	return configs, nil
}

func (e *edit) alterConfigs(c *metapb.AlterConfigs) Result {
	switch r := c.Resource.(type) {
	case *metapb.AlterConfigs_TopicId:
		t, err := e.topic(r.TopicId)
		if err != nil {
			return Result{Err: err}
		}
		altered := *t
		if altered.Configs, err = editConfigs(t.Configs, c.Sets, c.Deletes); err != nil {
			return Result{Err: err}
		}
		e.setTopic(&altered)
		return Result{Topic: &altered}
	case *metapb.AlterConfigs_Broker:
		if r.Broker < DefaultBroker {
			return failed(metapb.Verdict_INVALID_CONFIG, "broker %d: a node id, or -1 for the default of all brokers, is needed", r.Broker)
		}
		if r.Broker != DefaultBroker && e.Brokers[r.Broker] == nil {
			return failed(metapb.Verdict_INVALID_CONFIG, "broker %d is not registered", r.Broker)
		}
		configs, err := editConfigs(e.BrokerConfigs[r.Broker], c.Sets, c.Deletes)
		if err != nil {
			return Result{Err: err}
		}
		e.BrokerConfigs = maps.Clone(e.BrokerConfigs)
		if len(configs) == 0 {
			delete(e.BrokerConfigs, r.Broker)
		} else {
			e.BrokerConfigs[r.Broker] = configs
		}
		return Result{}
	}
	return failed(metapb.Verdict_INVALID_COMMAND, "configuration command without a resource")
}
