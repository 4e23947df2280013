// kafkajs's package ships no tests, so this uses what it can do: admin, producer with every codec it has, consumer groups with rebalances, seeks,
// pauses. Prints PASS or FAIL and the name of each check; what is right is what Apache Kafka does.
const { Kafka, CompressionTypes, ConfigResourceTypes, ResourcePatternTypes, AclResourceTypes, AclOperationTypes, AclPermissionTypes, logLevel } = require('kafkajs');

const assert = require('assert');

const id = `${Date.now()}`;
const topic = `js-${id}`;
const groupId = `js-group-${id}`;
const kafka = new Kafka({ clientId: 'suites', brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 3 } });
const admin = kafka.admin();
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const values = (n) => [...Array(n).keys()].map((i) => ({ key: `k${i}`, value: `v${i}`, partition: i % 3, headers: { h: `${i}` } }));

// until waits for a condition, 20 s at most.
async function until(what, so) {
  for (const end = Date.now() + 20000; !(await so()); await sleep(20)) assert(Date.now() < end, `not so after 20 s: ${what}`);
}

// consume runs a consumer until it has n messages, and returns them.
async function consume(options, from, n, each = () => {}) {
  const consumer = kafka.consumer(options);
  const got = [];
  await consumer.connect();
  await consumer.subscribe({ topic: from, fromBeginning: true });
  await consumer.run({ eachMessage: async (m) => { got.push(m); each(m, consumer); } });
  await until(`${n} messages, ${got.length} came`, () => got.length >= n);
  await consumer.disconnect();
  return got;
}

async function send(options, message) {
  const producer = kafka.producer(options);
  await producer.connect();
  try {
    return await producer.send(message);
  } finally {
    await producer.disconnect();
  }
}

const checks = {
  'admin.createTopics': async () => {
    assert.strictEqual(await admin.createTopics({ topics: [{ topic, numPartitions: 3, configEntries: [{ name: 'segment.bytes', value: '1048576' }] }] }), true);
    assert.strictEqual(await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] }), false);
  },
  'admin.createTopics/validateOnly': async () => {
    await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: `${topic}-dry`, numPartitions: 1 }] });
    assert(!(await admin.listTopics()).includes(`${topic}-dry`));
  },
  'admin.createTopics/invalid': async () => {
    await assert.rejects(admin.createTopics({ topics: [{ topic: 'no/name', numPartitions: 1 }] }));
  },
  'admin.listTopics': async () => assert((await admin.listTopics()).includes(topic)),
  'admin.fetchTopicMetadata': async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    assert.strictEqual(topics[0].partitions.length, 3);
    assert.deepStrictEqual(topics[0].partitions[0].replicas, topics[0].partitions[0].isr);
  },
  'admin.describeCluster': async () => {
    const c = await admin.describeCluster();
    assert(c.clusterId && c.brokers.length === 1 && c.controller === c.brokers[0].nodeId);
  },
  'admin.describeConfigs': async () => {
    const r = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['segment.bytes'] }] });
    assert.strictEqual(r.resources[0].configEntries[0].configValue, '1048576');
  },
  'admin.describeConfigs/broker': async () => {
    const { brokers } = await admin.describeCluster();
    const r = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.BROKER, name: `${brokers[0].nodeId}` }] });
    assert(r.resources[0].configEntries.length > 20);
  },
  'admin.alterConfigs': async () => { // the old request, AlterConfigs
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '100000000' }] }] });
  },
  'admin.createPartitions': async () => {
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
    await until('4 partitions', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 4);
  },
  'producer.send': async () => {
    const r = await send({}, { topic, acks: -1, messages: values(30) });
    assert.strictEqual(r.length, 3);
    assert(r.every((p) => p.errorCode === 0 && p.baseOffset === '0'));
  },
  'producer.send/acks=0': async () => send({}, { topic, acks: 0, messages: [{ value: 'v', partition: 3 }] }),
  'producer.send/acks=1': async () => send({}, { topic, acks: 1, messages: [{ value: 'v', partition: 3 }] }),
  'producer.send/gzip': async () => send({}, { topic, compression: CompressionTypes.GZIP, messages: values(30) }),
  'producer.send/idempotent': async () => {
    const r = await send({ idempotent: true, maxInFlightRequests: 1 }, { topic, messages: values(30) });
    assert(r.every((p) => p.errorCode === 0 && p.baseOffset === '20'));
  },
  'producer.send/tooLarge': async () => {
    const small = `${topic}-small`;
    await admin.createTopics({ topics: [{ topic: small, numPartitions: 1, configEntries: [{ name: 'max.message.bytes', value: '1000' }] }] });
    await assert.rejects(send({ retry: { retries: 0 } }, { topic: small, messages: [{ value: 'x'.repeat(5000) }] }), /larger than/);
  },
  'producer.sendBatch': async () => {
    const other = `${topic}-other`;
    await admin.createTopics({ topics: [{ topic: other, numPartitions: 1 }] });
    const producer = kafka.producer();
    await producer.connect();
    const r = await producer.sendBatch({ topicMessages: [{ topic: other, messages: [{ value: 'a' }, { value: null, key: 'tombstone' }] }, { topic, messages: [{ value: 'b', partition: 3 }] }] });
    await producer.disconnect();
    assert(r.every((p) => p.errorCode === 0));
  },
  'producer.transaction': async () => {
    const producer = kafka.producer({ transactionalId: `tx-${id}`, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const t = await producer.transaction();
    await t.send({ topic: `${topic}-other`, messages: [{ value: 'in a transaction' }] });
    await t.commit();
    await producer.disconnect();
  },
  'admin.fetchTopicOffsets': async () => {
    const offsets = await admin.fetchTopicOffsets(topic);
    assert.deepStrictEqual(offsets.filter((o) => o.partition < 3).map((o) => [o.low, o.high]), Array(3).fill(['0', '30']));
  },
  'admin.fetchTopicOffsetsByTimestamp': async () => {
    const past = await admin.fetchTopicOffsetsByTimestamp(topic, 1000);
    const future = await admin.fetchTopicOffsetsByTimestamp(topic, Date.now() + 3600000);
    assert(past.every((p) => p.offset === '0') && future.find((p) => p.partition === 0).offset === '30');
  },
  'consumer.run': async () => {
    const got = await consume({ groupId }, topic, 93);
    const m = got.find((g) => g.message.value.toString() === 'v7');
    assert.strictEqual(m.message.headers.h.toString(), '7');
    for (const p of [0, 1, 2]) {
      assert.deepStrictEqual(got.filter((g) => g.partition === p).map((g) => Number(g.message.offset)), [...Array(30).keys()]);
    }
  },
  'consumer.run/batches': async () => {
    const consumer = kafka.consumer({ groupId: `${groupId}-batches` });
    let n = 0;
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachBatch: async ({ batch, resolveOffset, heartbeat, commitOffsetsIfNecessary }) => {
      for (const m of batch.messages) { n++; resolveOffset(m.offset); }
      await commitOffsetsIfNecessary();
      await heartbeat();
    } });
    await until('93 messages', () => n >= 93);
    await consumer.disconnect();
  },
  'consumer.run/committed': async () => { // the group of consumer.run goes on behind what it read
    await send({}, { topic, messages: [{ value: 'new', partition: 0 }] });
    const got = await consume({ groupId }, topic, 1);
    assert.deepStrictEqual(got.map((g) => g.message.value.toString()), ['new']);
  },
  'consumer.run/readUncommitted': async () => consume({ groupId: `${groupId}-uncommitted`, readUncommitted: true }, topic, 94),
  'consumer.seek': async () => {
    let sought = false;
    const got = await consume({ groupId: `${groupId}-seek` }, topic, 94 + 31, (m, consumer) => {
      if (!sought && m.partition === 0 && m.message.offset === '30') { sought = true; consumer.seek({ topic, partition: 0, offset: 0 }); }
    });
    assert(got.filter((g) => g.partition === 0).length >= 62);
  },
  'consumer.pause': async () => {
    const consumer = kafka.consumer({ groupId: `${groupId}-pause` });
    let n = 0;
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({ eachMessage: async () => { n++; } });
    await until('94 messages', () => n >= 94);
    consumer.pause([{ topic }]);
    await send({}, { topic, messages: [{ value: 'paused', partition: 3 }] });
    await sleep(1000);
    assert.strictEqual(n, 94);
    consumer.resume([{ topic }]);
    await until('it goes on', () => n >= 95);
    await consumer.disconnect();
  },
  'consumer.rebalance': async () => {
    const seen = [0, 0];
    const consumers = [];
    for (const i of [0, 1]) {
      const consumer = kafka.consumer({ groupId: `${groupId}-two`, heartbeatInterval: 200, sessionTimeout: 6000 });
      await consumer.connect();
      await consumer.subscribe({ topic });
      await consumer.run({ eachMessage: async () => { seen[i]++; } });
      consumers.push(consumer);
    }
    await until('both have members', async () => {
      const { groups } = await admin.describeGroups([`${groupId}-two`]);
      return groups[0].state === 'Stable' && groups[0].members.length === 2;
    });
    await until('both get messages', async () => { await send({}, { topic, messages: values(3).concat([{ value: 'v', partition: 3 }]) }); return seen[0] && seen[1]; });
    await Promise.all(consumers.map((c) => c.disconnect()));
  },
  'admin.describeGroups': async () => {
    const { groups } = await admin.describeGroups([groupId, 'nobody']);
    assert.strictEqual(groups[0].state, 'Empty');
    assert.strictEqual(groups[1].state, 'Dead');
  },
  'admin.listGroups': async () => assert((await admin.listGroups()).groups.some((g) => g.groupId === groupId && g.protocolType === 'consumer')),
  'admin.fetchOffsets': async () => {
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
    assert.strictEqual(partitions.find((p) => p.partition === 1).offset, '30');
  },
  'admin.setOffsets': async () => {
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 1, offset: '5' }] });
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
    assert.strictEqual(partitions.find((p) => p.partition === 1).offset, '5');
  },
  'admin.resetOffsets': async () => admin.resetOffsets({ groupId, topic, earliest: true }),
  'admin.deleteTopicRecords': async () => {
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '10' }] });
    assert.strictEqual((await admin.fetchTopicOffsets(topic)).find((p) => p.partition === 0).low, '10');
  },
  'admin.describeAcls': async () => admin.describeAcls({ resourceType: AclResourceTypes.TOPIC, resourceName: topic, resourcePatternType: ResourcePatternTypes.LITERAL,
    permissionType: AclPermissionTypes.ANY, operation: AclOperationTypes.ANY }),
  'admin.listPartitionReassignments': async () => admin.listPartitionReassignments({}),
  'admin.deleteGroups': async () => {
    await admin.deleteGroups([groupId]);
    await assert.rejects(admin.deleteGroups([groupId]));
  },
  'admin.deleteTopics': async () => {
    await admin.deleteTopics({ topics: [topic] });
    await until('the topic is gone', async () => !(await admin.listTopics()).includes(topic));
  },
};

async function main() {
  await admin.connect();
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('30 s are over')), 30000); });
    try {
      await Promise.race([check(), limit]);
      console.log(`PASS ${name}`);
    } catch (e) {
      console.log(`FAIL ${name}: ${(e.message || `${e}`).split('\n')[0]}`);
    }
    clearTimeout(timer);
  }
  await admin.disconnect();
}
main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
