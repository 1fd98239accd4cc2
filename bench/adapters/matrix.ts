/** The high-level API of @matrixai/quic: the same native binding as our driver, used as its authors meant it. */
import { createHmac, randomBytes, timingSafeEqual, webcrypto } from "node:crypto"
import { type Adapter, CHUNK, ECHO, FRAMED, FramedClient, HOST, ServerStream, UPLOAD, withMode } from "../Adapter.ts"
import { makeCertificate } from "../certificates.ts"

interface QuicStream {
  readonly writable: WritableStream<Uint8Array>
  readonly readable: ReadableStream<Uint8Array>
}
interface EventTargetLike {
  readonly addEventListener: (
    name: string,
    listener: (event: { readonly detail: EventTargetLike & QuicStream }) => void
  ) => void
}
interface Socket {
  readonly start: (options: object) => Promise<void>
}
interface Quic {
  readonly QUICServer: new (options: object) => EventTargetLike & Socket & { readonly port: number }
  readonly QUICSocket: new (options: object) => Socket
  readonly QUICClient: {
    readonly createQUICClient: (options: object) => Promise<{
      readonly connection: { readonly newStream: () => QuicStream }
      readonly destroy: (options: object) => Promise<void>
    }>
  }
  readonly events: Record<"EventQUICServerConnection" | "EventQUICConnectionStream", { readonly name: string }>
}
interface Logging {
  readonly default: new (name: string, level: number, handlers: ReadonlyArray<unknown>) => unknown
}

const PACKAGE = "@matrixai/quic"
const LOGGING = "@matrixai/logger"
const quic = (await import(PACKAGE)) as Quic
const logging = (await import(LOGGING)) as Logging
const logger = new logging.default("bench", 100, [])
const hmac = (key: ArrayBuffer, data: ArrayBuffer) =>
  createHmac("sha256", Buffer.from(key)).update(Buffer.from(data)).digest()
const serverCrypto = {
  key: new Uint8Array(randomBytes(32)).buffer,
  ops: {
    sign: async (key: ArrayBuffer, data: ArrayBuffer) => new Uint8Array(hmac(key, data)).buffer,
    verify: async (key: ArrayBuffer, data: ArrayBuffer, signature: ArrayBuffer) =>
      timingSafeEqual(hmac(key, data), Buffer.from(signature))
  }
}
const clientCrypto = {
  ops: { randomBytes: async (data: ArrayBuffer) => void webcrypto.getRandomValues(new Uint8Array(data)) }
}
const config = async () => {
  const { cert, key } = await makeCertificate()
  return {
    cert,
    key,
    verifyPeer: true,
    verifyCallback: async () => undefined,
    applicationProtos: ["bench/1"],
    // Streams that hang end with the connection, and the run with them.
    maxIdleTimeout: 5_000,
    initialMaxStreamsBidi: 1000,
    readableChunkSize: 65_536,
    maxSendUdpPayloadSize: 1350,
    maxRecvUdpPayloadSize: 65_527,
    initialMaxData: 24 << 20,
    initialMaxStreamDataBidiLocal: 8 << 20,
    initialMaxStreamDataBidiRemote: 8 << 20,
    enableEarlyData: false,
    grease: false
  }
}

const collect = async (readable: ReadableStream<Uint8Array>) => {
  const parts: Array<Uint8Array> = []
  for await (const part of readable) parts.push(part)
  return Buffer.concat(parts)
}

const serveStream = async ({ readable, writable }: QuicStream) => {
  const writer = writable.getWriter()
  const side = new ServerStream(
    (bytes) => void writer.write(bytes).catch(() => {}),
    (bytes) => {
      if (bytes !== undefined && bytes.length > 0) writer.write(bytes).catch(() => {})
      writer.close().catch(() => {})
    }
  )
  for await (const chunk of readable) side.data(chunk)
  side.finish()
}

let shared: Promise<Socket> | undefined
const socketOf = async () => {
  const socket = new quic.QUICSocket({ logger })
  await socket.start({ host: HOST })
  return socket
}

export const adapter: Adapter = {
  serve: async () => {
    const server = new quic.QUICServer({ crypto: serverCrypto, config: await config(), logger })
    server.addEventListener(quic.events.EventQUICServerConnection.name, ({ detail: connection }) =>
      connection.addEventListener(quic.events.EventQUICConnectionStream.name, ({ detail: stream }) => {
        serveStream(stream).catch(() => {})
      })
    )
    await server.start({ host: HOST, port: 0 })
    return { info: { port: server.port } }
  },
  connect: async (info: { readonly port: number }) => {
    shared ??= socketOf()
    const client = await quic.QUICClient.createQUICClient({
      host: HOST,
      port: info.port,
      socket: await shared,
      crypto: clientCrypto,
      config: await config(),
      logger
    })
    const { connection } = client
    return {
      upload: async (bytes) => {
        const { readable, writable } = connection.newStream()
        const writer = writable.getWriter()
        await writer.write(Buffer.of(UPLOAD))
        for (let left = bytes; left > 0; left -= CHUNK.length) {
          await writer.write(left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left))
        }
        await writer.close()
        return Number((await collect(readable)).readBigUInt64BE())
      },
      echo: async (bytes) => {
        const { readable, writable } = connection.newStream()
        const writer = writable.getWriter()
        writer.write(withMode(ECHO, bytes)).catch(() => {})
        writer.close().catch(() => {})
        return (await collect(readable)).length
      },
      openFramed: async () => {
        const { readable, writable } = connection.newStream()
        const writer = writable.getWriter()
        const framed = new FramedClient((bytes) => void writer.write(bytes).catch(() => {}))
        writer.write(Buffer.of(FRAMED)).catch(() => {})
        const read = async () => {
          for await (const chunk of readable) framed.data(chunk)
        }
        read().catch(() => {})
        return (bytes) => framed.call(bytes)
      },
      close: () => client.destroy({ force: true })
    }
  }
}
