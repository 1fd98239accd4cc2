/** What is measured: each workload runs in the client process against a connected candidate and gives figures. */
import type { Adapter, Client } from "./Adapter.ts"

export interface Figures {
  /** Operations a second, or MB/s for bulk. */
  readonly rate?: number
  readonly p50Millis?: number
  readonly p99Millis?: number
  /** CPU of client and server together, microseconds an operation, or seconds a gigabyte for bulk. */
  readonly cpu?: number
  /** Memory of the server for each connection, KB. */
  readonly serverKb?: number
}

export interface Bench {
  readonly adapter: Adapter
  readonly info: never
  /** CPU seconds that the server has used. */
  readonly serverCpu: () => Promise<number>
  /** Resident bytes of the server after a collection. */
  readonly serverMemory: () => Promise<number>
}

/** Sizes that differ by candidate: the slow ones get less to do, so that a run ends. */
export interface Sizes {
  readonly bulkBytes: number
  readonly handshakes: number
  readonly connections: number
  readonly seconds: number
}

const REQUEST = Buffer.alloc(100, 0x62)
const now = () => performance.now()
const ownCpu = () => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1e6
}
const percentile = (sorted: ReadonlyArray<number>, share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN

const loop = async (operation: () => Promise<unknown>, workers: number, millis: number): Promise<Array<number>> => {
  const latencies: Array<number> = []
  const end = now() + millis
  const work = async () => {
    for (;;) {
      const start = now()
      if (start > end) return
      await operation()
      latencies.push(now() - start)
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
  return latencies
}

const operations = async (
  { serverCpu }: Bench,
  sizes: Sizes,
  workers: number,
  operation: () => Promise<unknown>
): Promise<Figures> => {
  await loop(operation, workers, 1000)
  const cpuBefore = (await serverCpu()) + ownCpu()
  const start = now()
  const latencies = await loop(operation, workers, sizes.seconds * 1000)
  const seconds = (now() - start) / 1000
  const cpu = (await serverCpu()) + ownCpu() - cpuBefore
  latencies.sort((a, b) => a - b)
  return {
    rate: latencies.length / seconds,
    p50Millis: percentile(latencies, 0.5),
    p99Millis: percentile(latencies, 0.99),
    cpu: (cpu / latencies.length) * 1e6
  }
}

type Workload = (bench: Bench, sizes: Sizes) => Promise<Figures | undefined>

const withClient =
  (run: (client: Client, bench: Bench, sizes: Sizes) => Promise<Figures | undefined>): Workload =>
  async (bench, sizes) => {
    const client = await bench.adapter.connect(bench.info)
    try {
      return await run(client, bench, sizes)
    } finally {
      client.close().catch(() => {})
    }
  }

const echo = (workers: number) =>
  withClient(async ({ echo }, bench, sizes) => {
    if (echo === undefined) return undefined
    return operations(bench, sizes, workers, async () => {
      const length = await echo(REQUEST)
      if (length !== REQUEST.length) throw new Error(`echo gave ${length} bytes`)
    })
  })

const framed = (workers: number) =>
  withClient(async ({ openFramed }, bench, sizes) => {
    if (openFramed === undefined) return undefined
    const call = await openFramed()
    return operations(bench, sizes, workers, () => call(REQUEST))
  })

const call = (workers: number, bytes: number) =>
  withClient(async ({ call }, bench, sizes) => {
    if (call === undefined) return undefined
    const text = "x".repeat(bytes)
    return operations(bench, sizes, workers, () => call(text))
  })

const denied = withClient(async ({ denied }, bench, sizes) =>
  denied === undefined ? undefined : operations(bench, sizes, 64, denied)
)

const bulk = withClient(async ({ upload }, { serverCpu }, { bulkBytes }) => {
  if (upload === undefined) return undefined
  await upload(Math.min(8 << 20, bulkBytes))
  const cpuBefore = (await serverCpu()) + ownCpu()
  const start = now()
  const counted = await upload(bulkBytes)
  const seconds = (now() - start) / 1000
  if (counted !== bulkBytes) throw new Error(`upload of ${bulkBytes} bytes counted as ${counted}`)
  const cpu = (await serverCpu()) + ownCpu() - cpuBefore
  return { rate: bulkBytes / 1e6 / seconds, cpu: cpu / (bulkBytes / 1e9) }
})

const handshake: Workload = async ({ adapter, info, serverCpu }, { handshakes }) => {
  const closing: Array<Promise<unknown>> = []
  const one = async () => {
    const start = now()
    const client = await adapter.connect(info)
    const millis = now() - start
    closing.push(client.close().catch(() => {}))
    return millis
  }
  for (let index = 0; index < handshakes / 2; index++) await one()
  const cpuBefore = (await serverCpu()) + ownCpu()
  const start = now()
  const latencies: Array<number> = []
  for (let index = 0; index < handshakes; index++) latencies.push(await one())
  const seconds = (now() - start) / 1000
  const cpu = (await serverCpu()) + ownCpu() - cpuBefore
  latencies.sort((a, b) => a - b)
  return {
    rate: handshakes / seconds,
    p50Millis: percentile(latencies, 0.5),
    p99Millis: percentile(latencies, 0.99),
    cpu: (cpu / handshakes) * 1e6
  }
}

const idle: Workload = async ({ adapter, info, serverMemory }, { connections }) => {
  const clients: Array<Client> = [await adapter.connect(info)]
  const before = await serverMemory()
  for (let index = 0; index < connections; index++) clients.push(await adapter.connect(info))
  const after = await serverMemory()
  for (const client of clients) client.close().catch(() => {})
  return { serverKb: (after - before) / connections / 1024 }
}

export const workloads = {
  "echo, new stream each, 1": echo(1),
  "echo, new stream each, 64": echo(64),
  "echo, one stream, 1": framed(1),
  "echo, one stream, 64": framed(64),
  handshakes: handshake,
  bulk,
  "memory, idle connection": idle,
  "calls, 100 B, 1": call(1, 100),
  "calls, 100 B, 64": call(64, 100),
  "calls, 100 B, 512": call(512, 100),
  "calls, 16 KiB, 64": call(64, 16_384),
  "denied calls, 64": denied
} satisfies Record<string, Workload>

export type WorkloadName = keyof typeof workloads
