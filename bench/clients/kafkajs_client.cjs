// kafkajs: creates a topic, produces N records and consumes them in a group while the broker restarts.
const fs = require('fs');
const { Kafka, logLevel } = require('kafkajs');

const [bootstrap, topic, count, half] = process.argv.slice(2);
const n = Number(count);
const kafka = new Kafka({
  clientId: 'clients', brokers: [bootstrap], logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 100 },
});
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] });
  await admin.disconnect();
  const consumer = kafka.consumer({ groupId: 'js-group', sessionTimeout: 10000, heartbeatInterval: 500, retry: { retries: 100, maxRetryTime: 500 } });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const seen = new Set();
  await consumer.run({ autoCommitInterval: 200, eachMessage: async ({ message }) => {
    const v = message.value.toString();
    seen.add(v);
    console.log(v);
  } });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let i = 1; i <= n; i++) {
    await producer.send({ topic, acks: -1, messages: [{ value: `record-${i}` }] });
    if (i === n / 2) fs.writeFileSync(half, '');
    await sleep(8);
  }
  await producer.disconnect();
  for (const end = Date.now() + 60000; seen.size < n && Date.now() < end;) await sleep(50);
  await consumer.disconnect();
}
main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
