// Reads `count` records of a topic from its beginning, decodes each with the registry, prints one JSON line each.
// usage: node decode.mjs BOOTSTRAP REGISTRY_URL TOPIC COUNT [SECONDS]

import { randomUUID } from 'node:crypto'

import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import kafkajs from 'kafkajs'
import lz4 from 'lz4js'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs

// The hub writes lz4, which kafkajs reads once it is told how.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})

const [bootstrap, host, topic, count, seconds = '60'] = process.argv.slice(2)
const registry = new SchemaRegistry({ host })
const kafka = new Kafka({ clientId: 'gridhub-example', brokers: [bootstrap], logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId: `gridhub-example-${randomUUID()}` })

const late = setTimeout(() => {
  console.error(`fewer than ${count} records of ${topic} within ${seconds} s`)
  process.exit(1)
}, Number(seconds) * 1000)

await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await new Promise((resolve, reject) => {
  let left = Number(count)
  consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
  consumer
    .run({
      eachMessage: async ({ message }) => {
        if (left === 0) return
        const record = await registry.decode(message.value)
        const headers = Object.fromEntries(Object.entries(message.headers).map(([name, text]) => [name, text.toString()]))
        console.log(JSON.stringify({ key: message.key.toString(), headers, record }))
        left -= 1
        if (left === 0) resolve()
      },
    })
    .catch(reject)
})
clearTimeout(late)
await consumer.disconnect()
