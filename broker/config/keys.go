package config

import "math"

const (
	maxInt  = math.MaxInt32
	maxLong = math.MaxInt64
	kib     = 1 << 10
	mib     = 1 << 20
)

// aliases are other names under which a key is accepted.
var aliases = map[string]string{"log.dir": "log.dirs", "broker.id": "node.id", "data.dir": "log.dirs"}

// unused are keys of a usual server.properties that have no meaning on this node, with the reason.
var unused = map[string]string{
	"process.roles":                                    "every node is both broker and controller",
	"controller.quorum.voters":                         "one node is its own quorum",
	"controller.quorum.bootstrap.servers":              "one node is its own quorum",
	"controller.listener.names":                        "controllers do not talk Kafka's protocol",
	"inter.broker.listener.name":                       "there is one node",
	"zookeeper.connect":                                "there is no ZooKeeper",
	"num.network.threads":                              "connections are goroutines",
	"num.io.threads":                                   "connections are goroutines",
	"num.replica.fetchers":                             "there is one node",
	"socket.send.buffer.bytes":                         "the kernel sizes the buffers",
	"socket.receive.buffer.bytes":                      "the kernel sizes the buffers",
	"queued.max.requests":                              "bytes are bounded instead: queued.max.request.bytes",
	"num.recovery.threads.per.data.dir":                "one journal is replayed",
	"metadata.log.dir":                                 "metadata lives in the data directory",
	"log.cleaner.enable":                               "the cleaner always runs, for internal topics",
	"log.cleaner.threads":                              "the cleaner has one thread",
	"transaction.state.log.replication.factor":         "transactions are not offered yet",
	"transaction.state.log.min.isr":                    "transactions are not offered yet",
	"transaction.state.log.num.partitions":             "transactions are not offered yet",
	"share.coordinator.state.topic.replication.factor": "share groups are not offered yet",
	"share.coordinator.state.topic.min.isr":            "share groups are not offered yet",
}

// brokerSchema are the keys of a node.
var brokerSchema = []*Key{
	// node and listeners
	key("node.id", Int, "1", "Identity of this node, fixed when its directory is created.", atLeast(0)),
	key("log.dirs", List, "./chronik-data", "The data directory; exactly one.", oneDirectory),
	key("listeners", List, "PLAINTEXT://127.0.0.1:9092", "Addresses that serve the Kafka protocol, NAME://HOST:PORT each; an empty host means every interface, port 0 picks one.", listenerList),
	key("advertised.listeners", List, "", "Addresses that clients are told, one per listener name; unset means the listeners.", noDefault, listenerList),
	key("listener.security.protocol.map", List, "PLAINTEXT:PLAINTEXT", "NAME:PROTOCOL for every listener name; PLAINTEXT is the only protocol so far.", protocolMap),
	key("chronik.admin.listener", String, "127.0.0.1:9644", "HOST:PORT of metrics, health and admin JSON; empty turns it off.", hostPort),
	key("chronik.peer.listener", String, "127.0.0.1:9192", "HOST:PORT where this node tells others who it is (gRPC); empty turns it off. The default is given up with a warning if it is in use.", hostPort),

	// limits of the protocol server
	key("socket.request.max.bytes", Int, "104857600", "Largest request; a longer one ends the connection.", atLeast(1)),
	key("queued.max.request.bytes", Long, "268435456", "Memory that requests in work may hold together; connections wait beyond it. -1 means no bound.", atLeast(-1)),
	key("max.connections", Int, "2147483647", "Connections open at once; further ones are closed at accept.", atLeast(0), dynamic),
	key("max.connections.per.ip", Int, "2147483647", "Connections open at once from one address.", atLeast(0), dynamic),
	key("connections.max.idle.ms", Long, "600000", "A connection without a request for so long is closed.", atLeast(1)),
	key("fetch.max.bytes", Int, "57671680", "Most bytes of records in one Fetch response, but always the first batch.", atLeast(1024)),
	key("max.incremental.fetch.session.cache.slots", Int, "1000", "Incremental fetch sessions kept (KIP-227).", atLeast(0)),

	// topics
	key("num.partitions", Int, "1", "Partitions of a topic created without a count.", atLeast(1)),
	key("default.replication.factor", Int, "1", "Replicas of a topic created without a count.", between(1, math.MaxInt16)),
	key("auto.create.topics.enable", Boolean, "true", "Create a topic when Metadata asks for one that does not exist."),
	key("min.insync.replicas", Int, "1", "In-sync replicas that acks=all needs.", atLeast(1), dynamic),
	key("message.max.bytes", Int, "1048588", "Largest record batch, as sent.", atLeast(0), dynamic),
	key("compression.type", String, "producer", "Batches keep the codec of the producer.", only("producer", "batches are stored as they were sent"), dynamic),
	key("unclean.leader.election.enable", Boolean, "false", "Only in-sync replicas become leader.", only("false", "a leader is always an in-sync replica"), dynamic),

	// partition logs
	key("log.segment.bytes", Int, "1073741824", "Size at which a segment is closed.", atLeast(mib), dynamic),
	key("log.roll.ms", Long, "", "Age at which a segment is closed; wins over log.roll.hours.", noDefault, atLeast(1), dynamic),
	key("log.roll.hours", Int, "168", "Age at which a segment is closed.", atLeast(1)),
	key("log.retention.ms", Long, "", "Age at which closed segments are deleted, -1 = never; wins over minutes and hours.", noDefault, atLeast(-1), dynamic),
	key("log.retention.minutes", Int, "", "As log.retention.ms; wins over hours.", noDefault, atLeast(-1)),
	key("log.retention.hours", Int, "168", "As log.retention.ms.", atLeast(-1)),
	key("log.retention.bytes", Long, "-1", "Size of a partition above which its oldest segments are deleted, -1 = no limit.", atLeast(-1), dynamic),
	key("log.retention.check.interval.ms", Long, "300000", "How often retention, rolling by age and the cleaner look.", atLeast(1)),
	key("log.cleanup.policy", List, "delete", "How old records go.", only("delete", "compaction of user topics is not offered yet"), dynamic),
	key("log.cleaner.delete.retention.ms", Long, "86400000", "How long a tombstone stays in a compacted topic.", atLeast(0), dynamic),
	key("log.index.interval.bytes", Int, "4096", "Bytes of log between two index entries.", atLeast(0), dynamic),
	key("log.index.size.max.bytes", Int, "10485760", "Size of an index at which its segment is closed.", atLeast(4), dynamic),
	key("log.message.timestamp.type", String, "CreateTime", "Whose clock stamps records.", oneOf("CreateTime", "LogAppendTime"), dynamic),
	key("log.message.timestamp.before.max.ms", Long, "9223372036854775807", "How far a record's time may lie in the past.", atLeast(0), dynamic),
	key("log.message.timestamp.after.max.ms", Long, "3600000", "How far a record's time may lie in the future.", atLeast(0), dynamic),
	key("log.flush.interval.messages", Long, "9223372036854775807", "Met by any value: every record is synced before it is acknowledged.", atLeast(1), dynamic),
	key("log.flush.interval.ms", Long, "", "Met by any value: every record is synced before it is acknowledged.", noDefault, atLeast(0), dynamic),
	key("log.preallocate", Boolean, "false", "Segments grow as they are written.", only("false", "segments grow as they are written"), dynamic),
	key("producer.id.expiration.ms", Int, "86400000", "How long an idle producer's sequence is remembered.", atLeast(1), dynamic),

	// groups
	key("group.initial.rebalance.delay.ms", Int, "3000", "How long an empty group waits for more members before its first rebalance.", atLeast(0)),
	key("group.min.session.timeout.ms", Int, "6000", "Shortest session timeout that a member may ask for.", atLeast(0)),
	key("group.max.session.timeout.ms", Int, "1800000", "Longest session timeout that a member may ask for.", atLeast(0)),
	key("group.max.size", Int, "2147483647", "Most members of a group.", atLeast(1)),
	key("offsets.topic.num.partitions", Int, "50", "Partitions of __consumer_offsets, when it is created.", between(1, 10000)),
	key("offsets.topic.replication.factor", Short, "1", "Replicas of __consumer_offsets.", only("1", "there is one node")),
	key("offsets.topic.segment.bytes", Int, "104857600", "segment.bytes of __consumer_offsets, when it is created.", atLeast(mib)),
	key("offsets.retention.minutes", Int, "10080", "How long offsets of an empty group, or of a topic it no longer subscribes, are kept.", atLeast(1)),
	key("offsets.retention.check.interval.ms", Long, "600000", "How often expired offsets are looked for.", atLeast(1)),
	key("offset.metadata.max.bytes", Int, "4096", "Longest metadata text of a committed offset.", atLeast(0)),
	key("offsets.load.buffer.size", Int, "5242880", "Bytes read at a time while groups are loaded.", atLeast(1)),

	// chronik's own
	key("chronik.journal.segment.bytes", Long, "67108864", "Size of a journal segment.", between(64*kib, 1024*mib)),
	key("chronik.journal.max.bytes", Long, "2147483648", "Cap of the journal: appends wait beyond it until a checkpoint frees segments.", atLeast(256*kib)),
	key("chronik.checkpoint.bytes", Long, "268435456", "Journal bytes after which a checkpoint starts.", atLeast(64*kib)),
	key("chronik.checkpoint.interval.ms", Long, "60000", "Age of the last checkpoint at which the next one starts, if anything was written.", atLeast(10)),
	key("chronik.tail.memory.bytes", Long, "67108864", "Memory for records not yet in partition files, of all partitions together.", atLeast(mib)),
	key("chronik.disk.reserve.bytes", Long, "67108864", "Bytes of the disk, a sixteenth of it at most, that produce leaves free for recovery and administration.", atLeast(0)),
	key("chronik.journal.direct.io", Boolean, "true", "Write the journal past the page cache where the file system can."),
}
