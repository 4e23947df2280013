import java.io.DataInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.*;

/**
 * Every (API key, version) that a broker advertises, exercised from Java: an empty request and one that asks for something, built by
 * kafka-clients' own messages, and each answer parsed by AbstractResponse.parseResponse with no byte left and written again to the same bytes.
 *
 * usage: java -cp "$(kafka install)/libs/*" Pairs.java HOST:PORT
 *
 * Exits 1 if an answer does not parse, leaves bytes, is written differently, or holds UNKNOWN_SERVER_ERROR. The last line counts.
 */
public class Pairs {
    static final String TOPIC = "pairs-" + System.nanoTime();
    static String host;
    static int port;
    static Uuid topicId = Uuid.ZERO_UUID;

    public static void main(String[] args) throws Exception {
        host = args[0].substring(0, args[0].lastIndexOf(':'));
        port = Integer.parseInt(args[0].substring(args[0].lastIndexOf(':') + 1));
        ApiVersionsResponseData table = (ApiVersionsResponseData) call(ApiKeys.API_VERSIONS, (short) 4, asking(ApiKeys.API_VERSIONS, (short) 4));
        prepare();
        int pairs = 0, failed = 0;
        List<String> unknown = new ArrayList<>();
        for (ApiVersionsResponseData.ApiVersion range : table.apiKeys()) {
            for (short v = range.minVersion(); v <= range.maxVersion(); v++) {
                if (!ApiKeys.hasId(range.apiKey()) || !ApiKeys.forId(range.apiKey()).isVersionSupported(v)) {
                    unknown.add((ApiKeys.hasId(range.apiKey()) ? ApiKeys.forId(range.apiKey()).name : "key " + range.apiKey()) + "/" + v);
                    continue;
                }
                ApiKeys key = ApiKeys.forId(range.apiKey());
                try {
                    call(key, v, empty(key));
                    call(key, v, asking(key, v));
                    pairs++;
                } catch (Exception | Error e) {
                    failed++;
                    System.out.println("FAILED " + key.name + " version " + v + ": " + e);
                }
            }
        }
        System.out.println(pairs + " (API key, version) pairs answered and parsed to the last byte by kafka-clients, " + failed + " failed, "
            + unknown.size() + " that this kafka-clients no longer sends" + (unknown.isEmpty() ? "" : ": " + String.join(" ", unknown)));
        System.exit(failed == 0 && pairs > 0 ? 0 : 1);
    }

    /** Makes the topic, and asks for the coordinator until there is one. */
    static void prepare() throws Exception {
        call(ApiKeys.CREATE_TOPICS, (short) 7, asking(ApiKeys.CREATE_TOPICS, (short) 7));
        for (int i = 0; i < 200; i++) {
            MetadataRequestData ask = new MetadataRequestData().setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName(TOPIC)));
            MetadataResponseData metadata = (MetadataResponseData) call(ApiKeys.METADATA, (short) 13, ask);
            MetadataResponseData.MetadataResponseTopic topic = metadata.topics().iterator().next();
            FindCoordinatorResponseData found = (FindCoordinatorResponseData) call(ApiKeys.FIND_COORDINATOR, (short) 6, asking(ApiKeys.FIND_COORDINATOR, (short) 6));
            if (topic.errorCode() == 0 && !topic.partitions().isEmpty() && topic.partitions().get(0).errorCode() == 0 && found.coordinators().get(0).errorCode() == 0) {
                topicId = topic.topicId();
                return;
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException("no topic or no coordinator after 10 s");
    }

    /** Sends a request on a connection of its own and returns the answer. */
    static ApiMessage call(ApiKeys key, short version, ApiMessage request) throws IOException {
        RequestHeader header = new RequestHeader(key, version, "pairs", 7);
        ByteBuffer frame = RequestUtils.serialize(header.data(), header.headerVersion(), request, version);
        byte[] bytes = new byte[4 + frame.remaining()];
        ByteBuffer.wrap(bytes).putInt(frame.remaining()).put(frame);
        byte[] answer;
        try (Socket s = new Socket(host, port)) {
            s.setSoTimeout(20000);
            s.getOutputStream().write(bytes);
            DataInputStream in = new DataInputStream(s.getInputStream());
            answer = new byte[in.readInt()];
            in.readFully(answer);
        }
        ByteBuffer buffer = ByteBuffer.wrap(answer);
        ResponseHeader got = ResponseHeader.parse(buffer, key.responseHeaderVersion(version));
        if (got.correlationId() != 7) {
            throw new IllegalStateException("correlation id " + got.correlationId());
        }
        ByteBuffer body = buffer.slice();
        AbstractResponse response = AbstractResponse.parseResponse(key, new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(buffer.remaining() + " of " + answer.length + " bytes are left");
        }
        ByteBuffer again = MessageUtil.toByteBufferAccessor(response.data(), version).buffer();
        if (!again.equals(body)) {
            throw new IllegalStateException("kafka-clients writes " + again.remaining() + " other bytes than the " + body.remaining() + " received");
        }
        if (response.errorCounts().containsKey(Errors.UNKNOWN_SERVER_ERROR)) {
            throw new IllegalStateException("UNKNOWN_SERVER_ERROR in " + response);
        }
        return response.data();
    }

    /** The emptiest request of a key. Produce says that it wants an answer, heartbeats and fetches do not wait. */
    static ApiMessage empty(ApiKeys key) {
        ApiMessage message = key.messageType.newRequest();
        if (message instanceof ProduceRequestData produce) {
            produce.setAcks((short) 1);
        } else if (message instanceof FetchRequestData fetch) {
            fetch.setSessionEpoch(-1);
        }
        return message;
    }

    /** A request that asks for something. */
    static ApiMessage asking(ApiKeys key, short v) {
        return switch (key) {
            case PRODUCE -> {
                MemoryRecords records = MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(1000, "k".getBytes(), "v".getBytes()));
                var topic = new ProduceRequestData.TopicProduceData().setPartitionData(
                    List.of(new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records)));
                var topics = new ProduceRequestData.TopicProduceDataCollection();
                topics.add(v >= 13 ? topic.setTopicId(topicId) : topic.setName(TOPIC));
                yield new ProduceRequestData().setAcks((short) -1).setTimeoutMs(5000).setTopicData(topics);
            }
            case FETCH -> {
                var partition = new FetchRequestData.FetchPartition().setPartition(0).setFetchOffset(0).setPartitionMaxBytes(1 << 20);
                var topic = new FetchRequestData.FetchTopic().setPartitions(List.of(partition));
                yield new FetchRequestData().setMaxWaitMs(0).setMinBytes(1).setMaxBytes(1 << 20).setSessionEpoch(-1).setIsolationLevel((byte) 1)
                    .setTopics(List.of(v >= 13 ? topic.setTopicId(topicId) : topic.setTopic(TOPIC)));
            }
            case LIST_OFFSETS -> new ListOffsetsRequestData().setReplicaId(-1).setTopics(List.of(new ListOffsetsRequestData.ListOffsetsTopic().setName(TOPIC)
                .setPartitions(List.of(new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(0).setTimestamp(-1)))));
            case METADATA -> new MetadataRequestData().setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName(TOPIC)))
                .setAllowAutoTopicCreation(v < 4 || v > 4);
            case OFFSET_COMMIT -> {
                var topic = new OffsetCommitRequestData.OffsetCommitRequestTopic().setPartitions(
                    List.of(new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(0).setCommittedOffset(1).setCommittedMetadata("m")));
                yield new OffsetCommitRequestData().setGroupId("pairs-commits").setTopics(List.of(v >= 10 ? topic.setTopicId(topicId) : topic.setName(TOPIC)));
            }
            case OFFSET_FETCH -> {
                if (v < 8) {
                    yield new OffsetFetchRequestData().setGroupId("pairs-commits")
                        .setTopics(List.of(new OffsetFetchRequestData.OffsetFetchRequestTopic().setName(TOPIC).setPartitionIndexes(List.of(0))));
                }
                var topic = new OffsetFetchRequestData.OffsetFetchRequestTopics().setPartitionIndexes(List.of(0));
                yield new OffsetFetchRequestData().setGroups(List.of(new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("pairs-commits")
                    .setTopics(List.of(v >= 10 ? topic.setTopicId(topicId) : topic.setName(TOPIC)))));
            }
            case FIND_COORDINATOR -> v < 4 ? new FindCoordinatorRequestData().setKey("pairs") : new FindCoordinatorRequestData().setCoordinatorKeys(List.of("pairs", "other"));
            case JOIN_GROUP -> {
                var protocols = new JoinGroupRequestData.JoinGroupRequestProtocolCollection();
                protocols.add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("range").setMetadata(new byte[] {1}));
                yield new JoinGroupRequestData().setGroupId("pairs-join-" + v).setProtocolType("consumer").setSessionTimeoutMs(10000)
                    .setRebalanceTimeoutMs(v == 0 ? -1 : 10000).setProtocols(protocols);
            }
            case DESCRIBE_GROUPS -> new DescribeGroupsRequestData().setGroups(List.of("pairs-commits", "pairs-join-3"));
            case API_VERSIONS -> v < 3 ? new ApiVersionsRequestData() : new ApiVersionsRequestData().setClientSoftwareName("pairs").setClientSoftwareVersion("1");
            case CREATE_TOPICS -> {
                var topics = new CreateTopicsRequestData.CreatableTopicCollection();
                topics.add(new CreateTopicsRequestData.CreatableTopic().setName(TOPIC).setNumPartitions(2).setReplicationFactor((short) 1));
                yield new CreateTopicsRequestData().setTimeoutMs(5000).setTopics(topics);
            }
            case DELETE_TOPICS -> v < 6 ? new DeleteTopicsRequestData().setTopicNames(List.of("pairs-absent"))
                : new DeleteTopicsRequestData().setTopics(List.of(new DeleteTopicsRequestData.DeleteTopicState().setName("pairs-absent")));
            case DELETE_RECORDS -> new DeleteRecordsRequestData().setTimeoutMs(5000).setTopics(List.of(new DeleteRecordsRequestData.DeleteRecordsTopic().setName(TOPIC)
                .setPartitions(List.of(new DeleteRecordsRequestData.DeleteRecordsPartition().setPartitionIndex(0).setOffset(0)))));
            case OFFSET_FOR_LEADER_EPOCH -> {
                var topics = new OffsetForLeaderEpochRequestData.OffsetForLeaderTopicCollection();
                topics.add(new OffsetForLeaderEpochRequestData.OffsetForLeaderTopic().setTopic(TOPIC)
                    .setPartitions(List.of(new OffsetForLeaderEpochRequestData.OffsetForLeaderPartition().setPartition(0).setLeaderEpoch(0))));
                yield new OffsetForLeaderEpochRequestData().setReplicaId(v >= 3 ? -1 : -2).setTopics(topics);
            }
            case DESCRIBE_CONFIGS -> new DescribeConfigsRequestData().setIncludeSynonyms(true).setIncludeDocumentation(v >= 3).setResources(List.of(
                new DescribeConfigsRequestData.DescribeConfigsResource().setResourceType((byte) 2).setResourceName(TOPIC).setConfigurationKeys(null)));
            case CREATE_PARTITIONS -> {
                var topics = new CreatePartitionsRequestData.CreatePartitionsTopicCollection();
                topics.add(new CreatePartitionsRequestData.CreatePartitionsTopic().setName(TOPIC).setCount(1).setAssignments(null));
                yield new CreatePartitionsRequestData().setTimeoutMs(5000).setTopics(topics);
            }
            case DELETE_GROUPS -> new DeleteGroupsRequestData().setGroupsNames(List.of("pairs-absent"));
            case INCREMENTAL_ALTER_CONFIGS -> {
                var configs = new IncrementalAlterConfigsRequestData.AlterableConfigCollection();
                configs.add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName("retention.ms").setConfigOperation((byte) 0).setValue("100000000"));
                var resources = new IncrementalAlterConfigsRequestData.AlterConfigsResourceCollection();
                resources.add(new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType((byte) 2).setResourceName(TOPIC).setConfigs(configs));
                yield new IncrementalAlterConfigsRequestData().setResources(resources);
            }
            case OFFSET_DELETE -> new OffsetDeleteRequestData().setGroupId("pairs-absent");
            case SYNC_GROUP -> new SyncGroupRequestData().setGroupId("pairs-join-0").setMemberId("absent").setGenerationId(1);
            case HEARTBEAT -> new HeartbeatRequestData().setGroupId("pairs-join-0").setMemberId("absent").setGenerationId(1);
            case LEAVE_GROUP -> v < 3 ? new LeaveGroupRequestData().setGroupId("pairs-join-0").setMemberId("absent")
                : new LeaveGroupRequestData().setGroupId("pairs-join-0").setMembers(List.of(new LeaveGroupRequestData.MemberIdentity().setMemberId("absent")));
            case INIT_PRODUCER_ID -> new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(1000);
            default -> empty(key);
        };
    }
}
