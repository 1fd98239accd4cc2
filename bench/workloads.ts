/** What is measured: each workload runs in the client process against a connected candidate and gives figures. */
import type { Adapter, Client, ServeOptions } from "./Adapter.ts"
import type { Ability } from "./candidates.ts"

export interface Figures {
  /** Operations or items a second, or MB/s for bulk. */
  readonly rate?: number
  readonly p50Millis?: number
  readonly p99Millis?: number
  /** CPU of all processes together, microseconds an operation, or seconds a gigabyte for bulk. */
  readonly cpu?: number
  /** Memory of the measured side for each connection or call, KB. */
  readonly kb?: number
}

export interface Bench {
  readonly adapter: Adapter
  readonly info: never
  /** CPU seconds that client and servers have used. */
  readonly cpu: () => Promise<number>
  /** Resident bytes after a collection. */
  readonly serverMemory: () => Promise<number>
  readonly clientMemory: () => Promise<number>
}

/** Sizes that differ by candidate: the slow ones get less to do, so that a run ends. */
export interface Sizes {
  readonly bulkBytes: number
  readonly handshakes: number
  readonly connections: number
  readonly seconds: number
}

export interface Workload {
  readonly needs: Ability
  readonly run: (bench: Bench, sizes: Sizes) => Promise<Figures>
  /** The client calls a hub, and the hub a worker. */
  readonly isThroughHub?: true
  readonly serve?: ServeOptions
}

const REQUEST = Buffer.alloc(100, 0x62)
/** Before anything is counted, so that the compilers of both sides have seen the code. */
const WARM_UP_MILLIS = 700
const IMPORTED = 1000
/** Below what one connection may have in flight with the defaults of any candidate. */
const HELD_PER_CONNECTION = 900
const HELD_CONNECTIONS = 10

const now = () => performance.now()
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

const figuresOf = (latencies: Array<number>, seconds: number, cpu: number): Figures => {
  latencies.sort((a, b) => a - b)
  return {
    rate: latencies.length / seconds,
    p50Millis: percentile(latencies, 0.5),
    p99Millis: percentile(latencies, 0.99),
    cpu: (cpu / latencies.length) * 1e6
  }
}

const operations = async (
  { cpu }: Bench,
  sizes: Sizes,
  workers: number,
  operation: () => Promise<unknown>
): Promise<Figures> => {
  await loop(operation, workers, WARM_UP_MILLIS)
  const cpuBefore = await cpu()
  const start = now()
  const latencies = await loop(operation, workers, sizes.seconds * 1000)
  const seconds = (now() - start) / 1000
  return figuresOf(latencies, seconds, (await cpu()) - cpuBefore)
}

/** What a candidate has said that it can do. */
const of = <A>(ability: A | undefined): A => {
  if (ability === undefined) throw new Error("not offered")
  return ability
}

const withClient =
  (run: (client: Client, bench: Bench, sizes: Sizes) => Promise<Figures>): Workload["run"] =>
  async (bench, sizes) => {
    const client = await bench.adapter.connect(bench.info)
    try {
      return await run(client, bench, sizes)
    } finally {
      client.close().catch(() => {})
    }
  }

const echo = (workers: number): Workload => ({
  needs: "streams",
  run: withClient((client, bench, sizes) =>
    operations(bench, sizes, workers, async () => {
      const length = await of(client.echo)(REQUEST)
      if (length !== REQUEST.length) throw new Error(`echo gave ${length} bytes`)
    })
  )
})

const framed = (workers: number): Workload => ({
  needs: "streams",
  run: withClient(async (client, bench, sizes) => {
    const call = await of(client.openFramed)()
    return operations(bench, sizes, workers, () => call(REQUEST))
  })
})

const bulk = withClient(async (client, { cpu }, { bulkBytes }) => {
  const upload = of(client.upload)
  await upload(bulkBytes >> 4)
  const cpuBefore = await cpu()
  const start = now()
  const counted = await upload(bulkBytes)
  const seconds = (now() - start) / 1000
  if (counted !== bulkBytes) throw new Error(`upload of ${bulkBytes} bytes counted as ${counted}`)
  return { rate: bulkBytes / 1e6 / seconds, cpu: ((await cpu()) - cpuBefore) / (bulkBytes / 1e9) }
})

const handshakes: Workload["run"] = async ({ adapter, cpu, info }, { handshakes }) => {
  const one = async () => {
    const start = now()
    const client = await adapter.connect(info)
    const millis = now() - start
    client.close().catch(() => {})
    return millis
  }
  for (let index = 0; index < handshakes / 2; index++) await one()
  const cpuBefore = await cpu()
  const start = now()
  const latencies: Array<number> = []
  for (let index = 0; index < handshakes; index++) latencies.push(await one())
  const seconds = (now() - start) / 1000
  return figuresOf(latencies, seconds, (await cpu()) - cpuBefore)
}

const idle: Workload["run"] = async ({ adapter, info, serverMemory }, { connections }) => {
  const clients: Array<Client> = [await adapter.connect(info)]
  const before = await serverMemory()
  for (let index = 0; index < connections; index++) clients.push(await adapter.connect(info))
  const after = await serverMemory()
  for (const client of clients) client.close().catch(() => {})
  return { kb: (after - before) / connections / 1024 }
}

const call = (workers: number, bytes: number, more?: Pick<Workload, "isThroughHub">): Workload => ({
  needs: more?.isThroughHub ? "hub" : "calls",
  ...more,
  run: withClient((client, bench, sizes) => {
    const text = "x".repeat(bytes)
    return operations(bench, sizes, workers, () => of(client.call)(text))
  })
})

const denied = withClient((client, bench, sizes) => operations(bench, sizes, 64, of(client.denied)))

const composed = withClient((client, bench, sizes) =>
  operations(bench, sizes, 64, () => of(client.composed)("x".repeat(100)))
)

/** One subscription after the other, each as long as the warm-up found to take a good part of its time. */
const items = withClient(async (client, { cpu }, { seconds }) => {
  const text = "x".repeat(100)
  const subscribe = async (count: number) => {
    const length = await of(client.items)(count, text)
    if (length !== count * text.length) throw new Error(`${count} items gave ${length} characters`)
  }
  let count = 1000
  for (const start = now(); now() - start < WARM_UP_MILLIS; await subscribe(count)) count *= 2
  const cpuBefore = await cpu()
  const start = now()
  let subscriptions = 0
  for (; now() - start < seconds * 1000; subscriptions++) await subscribe(count)
  const taken = subscriptions * count
  const rate = taken / ((now() - start) / 1000)
  return { rate, cpu: (((await cpu()) - cpuBefore) / taken) * 1e6 }
})

/** Many calls that nobody answers; on each connection one that is answered shows that they have arrived. */
const held = (side: "serverMemory" | "clientMemory"): Workload => ({
  needs: "held",
  run: async (bench) => {
    const text = "x".repeat(100)
    const { adapter, info } = bench
    const clients = await Promise.all(Array.from({ length: HELD_CONNECTIONS }, () => adapter.connect(info)))
    const answered = () => Promise.all(clients.map((client) => of(client.call)(text)))
    const hold = (count: number) => {
      for (const client of clients) {
        for (let index = 0; index < count; index++) of(client.hold)(text).catch(() => {})
      }
      return answered()
    }
    await answered()
    await hold(1)
    const before = await bench[side]()
    await hold(HELD_PER_CONNECTION)
    const after = await bench[side]()
    for (const client of clients) client.close().catch(() => {})
    return { kb: (after - before) / (HELD_CONNECTIONS * HELD_PER_CONNECTION) / 1024 }
  }
})

/** On a new connection each; the rate is that of operations, the latency that of a whole import. */
const imports: Workload["run"] = async ({ adapter, cpu, info }, { seconds }) => {
  let importing = 0
  const one = async () => {
    const client = await adapter.connect(info)
    const start = now()
    const count = await of(client.importAll)()
    const millis = now() - start
    importing += millis
    client.close().catch(() => {})
    if (count < IMPORTED) throw new Error(`${count} operations imported`)
    return millis
  }
  await one()
  await one()
  importing = 0
  const cpuBefore = await cpu()
  const latencies: Array<number> = []
  do latencies.push(await one())
  while (importing < seconds * 1000)
  const figures = figuresOf(latencies, importing / 1000, (await cpu()) - cpuBefore)
  return { ...figures, rate: figures.rate! * IMPORTED, cpu: figures.cpu! / IMPORTED }
}

export const workloads: Record<string, Workload> = {
  "echo, new stream each, 1": echo(1),
  "echo, new stream each, 64": echo(64),
  "echo, one stream, 1": framed(1),
  "echo, one stream, 64": framed(64),
  handshakes: { needs: "streams", run: handshakes },
  bulk: { needs: "streams", run: bulk },
  "memory, idle connection": { needs: "streams", run: idle },
  "calls, 100 B, 1": call(1, 100),
  "calls, 100 B, 64": call(64, 100),
  "calls, 100 B, 512": call(512, 100),
  "calls, 16 KiB, 64": call(64, 16_384),
  "denied calls, 64": { needs: "denied", run: denied },
  "calls through a hub, 100 B, 64": call(64, 100, { isThroughHub: true }),
  "composed calls, depth 10, 64": { needs: "composed", run: composed },
  "items, 100 B, one stream": { needs: "items", run: items },
  "memory, call in flight, callee": held("serverMemory"),
  "memory, call in flight, caller": held("clientMemory"),
  "import of 1,000 operations": { needs: "imports", serve: { operations: IMPORTED }, run: imports }
}
