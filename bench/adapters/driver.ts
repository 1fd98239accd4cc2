/** Our QUIC driver without Effect: plain callbacks. What the layers above it can at most reach. */
import { Effect, Redacted, Scope } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import { Acceptor } from "../../src/layers/transport/quic/Acceptor.ts"
import { Admission } from "../../src/layers/transport/quic/Admission.ts"
import { loadBinding } from "../../src/layers/transport/quic/Binding.ts"
import { makeContext } from "../../src/layers/transport/quic/Contexts.ts"
import { dial } from "../../src/layers/transport/quic/Dialer.ts"
import { Driver } from "../../src/layers/transport/quic/Driver.ts"
import { DEFAULT_LIMITS } from "../../src/layers/transport/quic/Limits.ts"
import type { QuicConnection } from "../../src/layers/transport/quic/QuicConnection.ts"
import type { QuicStream } from "../../src/layers/transport/quic/QuicStream.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import { type Adapter, CHUNK, ECHO, FRAMED, FramedClient, HOST, ServerStream, UPLOAD, withMode } from "../Adapter.ts"
import { UNBOUNDED } from "../limits.ts"

const BENCH = Alpn.make("bench/1")
const limits = { ...DEFAULT_LIMITS, ...UNBOUNDED }
const settings = { limits, datagramBytes: 1350, migration: false }
const EMPTY = Buffer.alloc(0)

const makeDriver = async (address: { readonly host: string; readonly port: number }) => {
  const quiche = await loadBinding()
  const identity = await Effect.runPromise(Scope.provide(makeEphemeralIdentity, Scope.makeUnsafe()))
  const driver = new Driver({ quiche, ...settings })
  await new Promise<void>((resolve, reject) =>
    driver.bind(address, (failed) => (failed === undefined ? resolve() : reject(failed)))
  )
  const pem = { certificate: new TextEncoder().encode(identity.certPem), key: Redacted.value(identity.keyPem) }
  return { driver, quiche, nodeId: identity.nodeId, pem }
}

const write = (stream: QuicStream, bytes: Uint8Array, end: boolean, done: () => void = () => {}) => {
  const taken = stream.write(bytes, end)
  if (taken === bytes.length && (!end || stream.writeEnd !== undefined)) return done()
  if (taken >= 0) stream.queueWrite({ bytes: bytes.subarray(taken), end, done })
}

const read = (stream: QuicStream, onChunk: (chunk: Uint8Array) => void, onEnd: () => void) => {
  const pull = () => {
    for (;;) {
      const chunk = stream.read()
      if (chunk === undefined) break
      onChunk(chunk)
    }
    if (stream.readEnd !== undefined) return onEnd()
    stream.onReadable = pull
  }
  pull()
}

const serveStream = (stream: QuicStream) => {
  const side = new ServerStream(
    (bytes) => write(stream, bytes, false),
    (bytes) => write(stream, bytes ?? EMPTY, true)
  )
  read(
    stream,
    (chunk) => side.data(chunk),
    () => side.finish()
  )
}

const serveConnection = (connection: QuicConnection) => {
  const take = () => {
    for (let stream = connection.accept(); stream !== undefined; stream = connection.accept()) serveStream(stream)
    connection.onIncoming = take
  }
  take()
}

interface Info {
  readonly port: number
  readonly nodeId: NodeId
}

let shared: ReturnType<typeof makeDriver> | undefined
const clientContexts = new WeakMap<Driver, ReturnType<typeof makeContext>>()

export const adapter: Adapter = {
  serve: async () => {
    const { driver, nodeId, pem, quiche } = await makeDriver({ host: HOST, port: 0 })
    const offered = [BENCH]
    new Acceptor({
      driver,
      admission: new Admission(limits),
      alpns: { node: () => offered, web: () => [] },
      node: makeContext(quiche, "node", pem, settings),
      web: undefined,
      onConnection: serveConnection
    })
    return { info: { port: driver.local.port, nodeId } satisfies Info }
  },
  connect: async (info: Info) => {
    shared ??= makeDriver({ host: HOST, port: 0 })
    const { driver, pem, quiche } = await shared
    let context = clientContexts.get(driver)
    if (context === undefined) {
      context = makeContext(quiche, "dial", pem, settings)
      clientContexts.set(driver, context)
    }
    const config = context.offering(OFFER)
    const connection = await new Promise<QuicConnection>((resolve, reject) =>
      dial(driver, {
        remote: { host: HOST, port: info.port },
        expect: info.nodeId,
        alpn: BENCH,
        config,
        done: (connection, failure) =>
          connection === undefined ? reject(new Error(JSON.stringify(failure))) : resolve(connection)
      })
    )
    const open = () => {
      const stream = connection.open()
      if (stream === undefined) throw new Error("no stream")
      return stream
    }
    return {
      echo: (bytes) =>
        new Promise((resolve) => {
          const stream = open()
          let length = 0
          write(stream, withMode(ECHO, bytes), true)
          read(
            stream,
            (chunk) => {
              length += chunk.length
            },
            () => resolve(length)
          )
        }),
      upload: (bytes) =>
        new Promise((resolve) => {
          const stream = open()
          const parts: Array<Uint8Array> = []
          read(
            stream,
            (chunk) => parts.push(chunk),
            () => resolve(Number(Buffer.concat(parts).readBigUInt64BE()))
          )
          let left = bytes
          const next = () => {
            if (left <= 0) return write(stream, EMPTY, true)
            const chunk = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left)
            left -= chunk.length
            write(stream, chunk, left === 0, left === 0 ? undefined : next)
          }
          write(stream, Buffer.of(UPLOAD), false, next)
        }),
      openFramed: async () => {
        const stream = open()
        const framed = new FramedClient((bytes) => write(stream, bytes, false))
        write(stream, Buffer.of(FRAMED), false)
        read(
          stream,
          (chunk) => framed.data(chunk),
          () => {}
        )
        return (bytes) => framed.call(bytes)
      },
      close: async () => connection.close(0, "")
    }
  }
}

const OFFER = [BENCH]
