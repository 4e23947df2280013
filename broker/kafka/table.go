package kafka

import (
	"strings"

	"chronik.dev/chronik/broker/coordinator"
)

// served is the table of what is advertised: Apache Kafka 4.3's exact versions of each key, all of them tested.
func served() map[int16]*api {
	list := []api{
		{key: keyProduce, max: 13, run: produce, note: "versions 0-2 are advertised, as by Kafka, and refused; transactional producers are refused"},
		{key: keyFetch, min: 4, max: 18, later: true, run: fetch, note: "isolation levels see the same records: there are no transactions yet; no fetching by replicas"},
		{key: 2, min: 1, max: 11, run: answer(listOffsets), note: "no remote storage: -5 and -6 find nothing"},
		{key: 3, max: 13, run: answer(describeMetadata)},
		{key: 8, min: 2, max: 10, later: true, run: group((*coordinator.Coordinator).OffsetCommit)},
		{key: 9, min: 1, max: 10, later: true, run: group((*coordinator.Coordinator).OffsetFetch)},
		{key: 10, max: 6, run: answer(findCoordinator), note: "groups only; transactions and share groups are refused"},
		{key: 11, max: 9, keeps: true, later: true, run: async(joinGroup)},
		{key: 12, max: 4, later: true, run: group((*coordinator.Coordinator).Heartbeat)},
		{key: 13, max: 5, later: true, run: group((*coordinator.Coordinator).LeaveGroup)},
		{key: 14, max: 5, keeps: true, later: true, run: group((*coordinator.Coordinator).SyncGroup)},
		{key: 15, max: 6, later: true, run: async(describeGroups), note: "groups of the classic protocol"},
		{key: 16, max: 5, later: true, run: group((*coordinator.Coordinator).ListGroups), note: "groups of the classic protocol"},
		{key: keyAPIVersions, max: 4, run: answer(apiVersions)},
		{key: 19, min: 2, max: 7, run: answer(createTopics), note: "cleanup.policy=compact is refused with INVALID_CONFIG; one replica"},
		{key: 20, min: 1, max: 6, run: answer(deleteTopics)},
		{key: 21, max: 2, run: async(deleteRecords)},
		{key: 22, max: 5, run: answer(initProducerID), note: "idempotent producers; transactional ids are refused"},
		{key: 23, min: 2, max: 4, run: answer(offsetForLeaderEpoch)},
		{key: 32, min: 1, max: 4, run: answer(describeConfigs), note: "topics and brokers"},
		{key: 35, min: 1, max: 5, run: answer(describeLogDirs), note: "one log directory"},
		{key: 37, max: 3, run: answer(createPartitions)},
		{key: 42, max: 2, later: true, run: group((*coordinator.Coordinator).DeleteGroups)},
		{key: 44, max: 1, run: answer(incrementalAlterConfigs), note: "topics and brokers"},
		{key: 47, later: true, run: group((*coordinator.Coordinator).OffsetDelete)},
		{key: 60, max: 2, run: answer(describeCluster)},
	}
	table := make(map[int16]*api, len(list))
	for i := range list {
		a := &list[i]
		s := schemas[a.key]
		a.schema, a.slot = &s, i
		a.name = strings.TrimSuffix(s.name, "Request")
		table[a.key] = a
	}
	return table
}
