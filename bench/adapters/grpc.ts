/**
 * @grpc/grpc-js with mutual TLS: unary calls, client streaming for bulk, server streaming for items, one bidirectional call for
 * frames.
 */
import { type Adapter, CHUNK, type Client, count64, HOST } from "../Adapter.ts"
import { type Certificate, makeCertificate } from "../certificates.ts"

type Callback<A> = (error: Error | null, value: A) => void
interface Stream {
  readonly write: (bytes: Buffer) => boolean
  readonly end: () => void
  readonly on: (event: string, listener: (value: Buffer) => void) => unknown
  readonly once: (event: string, listener: () => void) => unknown
}
interface Stub {
  readonly echo: (bytes: Buffer, done: Callback<Buffer>) => void
  readonly call: (bytes: Buffer, done: Callback<Buffer>) => void
  readonly denied: (bytes: Buffer, done: Callback<Buffer>) => void
  readonly hold: (bytes: Buffer, done: Callback<Buffer>) => void
  readonly items: (bytes: Buffer) => Stream
  readonly up: (done: Callback<Buffer>) => Stream
  readonly bidi: () => Stream
  readonly waitForReady: (deadline: number, done: (error?: Error) => void) => void
  readonly close: () => void
}
interface Grpc {
  readonly Server: new (
    options: object
  ) => {
    readonly addService: (definition: object, handlers: object) => void
    readonly bindAsync: (address: string, credentials: unknown, done: Callback<number>) => void
  }
  readonly ServerCredentials: {
    readonly createSsl: (roots: Buffer | null, pairs: ReadonlyArray<object>, required: boolean) => unknown
  }
  readonly credentials: { readonly createSsl: (...pem: ReadonlyArray<Buffer>) => unknown }
  readonly makeClientConstructor: (
    definition: object,
    name: string
  ) => new (
    address: string,
    credentials: unknown,
    options: object
  ) => Stub
}

const PACKAGE = "@grpc/grpc-js"
const grpc = ((await import(PACKAGE)) as { readonly default: Grpc }).default
const same = (bytes: Buffer) => bytes
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/bench.Bench/${path}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same
})
const service = {
  echo: method("echo", false, false),
  call: method("call", false, false),
  denied: method("denied", false, false),
  hold: method("hold", false, false),
  items: method("items", false, true),
  up: method("up", true, false),
  bidi: method("bidi", true, true)
}
const text = (text: string) => Buffer.from(JSON.stringify({ text }))
const textOf = (bytes: Buffer) => (JSON.parse(bytes.toString()) as { readonly text: string }).text

interface Info {
  readonly port: number
  readonly server: Certificate
  readonly client: Certificate
}

const dial = async ({ client, port, server }: Info): Promise<Client> => {
  const Client = grpc.makeClientConstructor(service, "Bench")
  const stub = new Client(
    `${HOST}:${port}`,
    grpc.credentials.createSsl(Buffer.from(server.cert), Buffer.from(client.key), Buffer.from(client.cert)),
    { "grpc.ssl_target_name_override": server.name, "grpc.use_local_subchannel_pool": 1 }
  )
  await new Promise<void>((resolve, reject) =>
    stub.waitForReady(Date.now() + 5000, (error) => (error === undefined || error === null ? resolve() : reject(error)))
  )
  const unary = (name: "echo" | "call" | "hold", bytes: Buffer) =>
    new Promise<Buffer>((resolve, reject) =>
      stub[name](bytes, (error, answer) => (error === null ? resolve(answer) : reject(error)))
    )
  return {
    echo: async (bytes) => (await unary("echo", bytes)).length,
    call: async (said) => ({ text: textOf(await unary("call", text(said))) }),
    denied: () => new Promise((resolve) => stub.denied(Buffer.from("{}"), (error) => resolve(error))),
    hold: (said) => unary("hold", text(said)),
    items: (count, said) =>
      new Promise((resolve, reject) => {
        let length = 0
        const call = stub.items(Buffer.from(JSON.stringify({ count, text: said })))
        call.on("data", (item) => {
          length += textOf(item).length
        })
        call.on("end", () => resolve(length))
        call.on("error", reject)
      }),
    upload: (bytes) =>
      new Promise((resolve, reject) => {
        const call = stub.up((error, answer) =>
          error === null ? resolve(Number(answer.readBigUInt64BE())) : reject(error)
        )
        let left = bytes
        const go = () => {
          while (left > 0) {
            const chunk = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left)
            left -= chunk.length
            if (!call.write(chunk)) {
              call.once("drain", go)
              return
            }
          }
          call.end()
        }
        go()
      }),
    openFramed: async () => {
      const call = stub.bidi()
      const waiting: Array<(length: number) => void> = []
      call.on("data", (chunk) => waiting.shift()?.(chunk.length))
      call.on("error", () => {})
      return (bytes) =>
        new Promise<number>((resolve) => {
          waiting.push(resolve)
          call.write(bytes)
        })
    },
    close: async () => stub.close()
  }
}

export const adapter: Adapter = {
  serve: async ({ worker }) => {
    const next = worker === undefined ? undefined : await dial(worker)
    const own = await makeCertificate()
    const client = await makeCertificate()
    const server = new grpc.Server({ "grpc.max_receive_message_length": -1 })
    server.addService(service, {
      echo: (call: { request: Buffer }, done: Callback<Buffer>) => done(null, call.request),
      call: async (call: { request: Buffer }, done: Callback<Buffer>) => {
        const said = textOf(call.request)
        if (next === undefined) return done(null, text(said))
        const answer = (await next.call!(said)) as { readonly text: string }
        done(null, text(answer.text))
      },
      hold: () => {},
      items: (call: Stream & { request: Buffer }) => {
        const { count, text: said } = JSON.parse(call.request.toString()) as { count: number; text: string }
        let left = count
        const go = () => {
          for (; left > 0; left--) {
            if (call.write(text(said))) continue
            left--
            call.once("drain", go)
            return
          }
          call.end()
        }
        go()
      },
      denied: (_: unknown, done: (error: object) => void) => done({ code: 7, message: "denied" }),
      up: (call: Stream, done: Callback<Buffer>) => {
        let counted = 0
        call.on("data", (chunk) => {
          counted += chunk.length
        })
        call.on("end", () => done(null, count64(counted)))
      },
      bidi: (call: Stream) => {
        call.on("data", (chunk) => call.write(chunk))
        call.on("end", () => call.end())
      }
    })
    const pair = { private_key: Buffer.from(own.key), cert_chain: Buffer.from(own.cert) }
    const credentials = grpc.ServerCredentials.createSsl(Buffer.from(client.cert), [pair], true)
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`${HOST}:0`, credentials, (error, port) => (error === null ? resolve(port) : reject(error)))
    )
    return { info: { port, server: own, client } }
  },
  connect: dial
}
