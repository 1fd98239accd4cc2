/** @number0/iroh with relays off and loopback binds only; its byte APIs take arrays of numbers. */
import { type Adapter, CHUNK, count64, Deframer, ECHO, FRAMED, FramedClient, frame, HOST, UPLOAD } from "../Adapter.ts"

type Bytes = Array<number>
interface BiStream {
  readonly send: { readonly writeAll: (bytes: Bytes) => Promise<void>; readonly finish: () => Promise<void> }
  readonly recv: {
    readonly read: (limit: number) => Promise<Bytes | null>
    readonly readToEnd: (limit: number) => Promise<Bytes>
  }
}
interface Connection {
  readonly acceptBi: () => Promise<BiStream>
  readonly openBi: () => Promise<BiStream>
  readonly close: (code: bigint, reason: Bytes) => void
}
interface Endpoint {
  readonly acceptNext: () => Promise<{
    readonly accept: () => Promise<{ readonly connect: () => Promise<Connection> }>
  } | null>
  readonly connect: (address: unknown, alpn: Bytes) => Promise<Connection>
  readonly id: () => { readonly toString: () => string }
  readonly boundSockets: () => ReadonlyArray<string>
}
interface Builder {
  readonly relayMode: (mode: unknown) => void
  readonly bindAddr: (address: string) => void
  readonly alpns: (alpns: ReadonlyArray<Bytes>) => void
  readonly bind: () => Promise<Endpoint>
}
interface Iroh {
  readonly Endpoint: { readonly builder: () => Builder }
  readonly presetMinimal: (builder: Builder) => void
  readonly RelayMode: { readonly disabled: () => unknown }
  readonly EndpointAddr: new (id: unknown, relay: null, addresses: ReadonlyArray<string>) => unknown
  readonly EndpointId: { readonly fromString: (text: string) => unknown }
}

const PACKAGE = "@number0/iroh"
const iroh = ((await import(PACKAGE)) as { readonly default: Iroh }).default
const ALPN = [...Buffer.from("bench/1")]
const READ = 65_536

const bind = () => {
  const builder = iroh.Endpoint.builder()
  iroh.presetMinimal(builder)
  builder.relayMode(iroh.RelayMode.disabled())
  builder.bindAddr(`${HOST}:0`)
  builder.alpns([ALPN])
  return builder.bind()
}

const readAll = async (recv: BiStream["recv"], onChunk: (chunk: Bytes) => Promise<void> | void) => {
  for (;;) {
    const chunk = await recv.read(READ)
    if (chunk === null || chunk.length === 0) return
    await onChunk(chunk)
  }
}

const answer = async ({ recv, send }: BiStream) => {
  const first = await recv.read(READ)
  if (first === null || first.length === 0) return
  const rest = first.slice(1)
  if (first[0] === ECHO) {
    const parts = [rest]
    await readAll(recv, (chunk) => {
      parts.push(chunk)
    })
    await send.writeAll(parts.flat())
    await send.finish()
  } else if (first[0] === UPLOAD) {
    let counted = rest.length
    await readAll(recv, (chunk) => {
      counted += chunk.length
    })
    await send.writeAll([...count64(counted)])
    await send.finish()
  } else {
    const ready: Array<Buffer> = []
    const deframer = new Deframer((payload) => ready.push(frame(payload)))
    const push = async (chunk: Bytes) => {
      deframer.push(Buffer.from(chunk))
      if (ready.length > 0) await send.writeAll([...Buffer.concat(ready.splice(0))])
    }
    await push(rest)
    await readAll(recv, push)
  }
}

let shared: Promise<Endpoint> | undefined

export const adapter: Adapter = {
  serve: async () => {
    const endpoint = await bind()
    const accept = async () => {
      for (;;) {
        const incoming = await endpoint.acceptNext()
        if (incoming === null) return
        const serve = async () => {
          const connection = await (await incoming.accept()).connect()
          for (;;) answer(await connection.acceptBi()).catch(() => {})
        }
        serve().catch(() => {})
      }
    }
    accept().catch(() => {})
    return { info: { id: endpoint.id().toString(), address: endpoint.boundSockets().find((a) => a.startsWith(HOST)) } }
  },
  connect: async (info: { readonly id: string; readonly address: string }) => {
    shared ??= bind()
    const address = new iroh.EndpointAddr(iroh.EndpointId.fromString(info.id), null, [info.address])
    const connection = await (await shared).connect(address, ALPN)
    const chunk = [...CHUNK]
    return {
      upload: async (bytes) => {
        const { recv, send } = await connection.openBi()
        await send.writeAll([UPLOAD])
        for (let left = bytes; left > 0; left -= chunk.length) {
          await send.writeAll(left >= chunk.length ? chunk : chunk.slice(0, left))
        }
        await send.finish()
        return Number(Buffer.from(await recv.readToEnd(64)).readBigUInt64BE())
      },
      echo: async (bytes) => {
        const { recv, send } = await connection.openBi()
        await send.writeAll([ECHO, ...bytes])
        await send.finish()
        return (await recv.readToEnd(1024)).length
      },
      openFramed: async () => {
        const { recv, send } = await connection.openBi()
        await send.writeAll([FRAMED])
        let last = Promise.resolve()
        const client = new FramedClient((bytes) => {
          last = last.then(() => send.writeAll([...bytes]))
        })
        readAll(recv, (chunk) => client.data(Buffer.from(chunk))).catch(() => {})
        return (bytes) => client.call(bytes)
      },
      close: async () => connection.close(0n, [])
    }
  }
}
