/** Connect over HTTP/2 and mutual TLS, in its own protocol with binary messages; the messages are written by hand. */
import { once } from "node:events"
import http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { type Adapter, type Client, HOST } from "../Adapter.ts"
import { type Certificate, makeCertificate } from "../certificates.ts"

interface Text {
  readonly text: string
}
interface Many extends Text {
  readonly count: number
}
interface Stub {
  readonly say: (input: Text) => Promise<Text>
  readonly denied: (input: Text) => Promise<Text>
  readonly hold: (input: Text) => Promise<Text>
  readonly items: (input: Many) => AsyncIterable<Text>
}
interface Handlers {
  readonly say: (input: Text) => Promise<Text> | Text
  readonly denied: (input: Text) => Text
  readonly hold: (input: Text) => Promise<Text>
  readonly items: (input: Many) => AsyncIterable<Text>
}
interface Connect {
  readonly createClient: (service: unknown, transport: unknown) => Stub
  readonly ConnectError: new (message: string, code: number) => Error
  readonly Code: { readonly PermissionDenied: number }
}
interface ConnectNode {
  readonly connectNodeAdapter: (options: {
    readonly routes: (router: { readonly service: (service: unknown, handlers: Handlers) => void }) => void
  }) => (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void
  readonly createConnectTransport: (options: object) => unknown
  readonly Http2SessionManager: new (
    url: string,
    session: undefined,
    options: object
  ) => { readonly connect: () => Promise<string>; readonly abort: () => void }
}
interface Protobuf {
  readonly create: (schema: unknown, init: object) => unknown
  readonly createFileRegistry: (
    file: unknown,
    resolve: () => undefined
  ) => { readonly getService: (name: string) => unknown }
}

const CONNECT = "@connectrpc/connect"
const CONNECT_NODE = "@connectrpc/connect-node"
const PROTOBUF = "@bufbuild/protobuf"
const DESCRIPTORS = "@bufbuild/protobuf/wkt"
const connect = (await import(CONNECT)) as Connect
const node = (await import(CONNECT_NODE)) as ConnectNode
const { create, createFileRegistry } = (await import(PROTOBUF)) as Protobuf
const { FileDescriptorProtoSchema } = (await import(DESCRIPTORS)) as { readonly FileDescriptorProtoSchema: unknown }

/** What protoc makes of a file with these two messages and one service; the numbers are its types uint32 and string. */
const field = (name: string, number: number, type: 9 | 13) => ({ name, jsonName: name, number, type, label: 1 })
const method = (name: string, inputType = ".bench.Text", serverStreaming = false) => ({
  name,
  inputType,
  outputType: ".bench.Text",
  serverStreaming
})
const service = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: "bench.proto",
    package: "bench",
    syntax: "proto3",
    messageType: [
      { name: "Text", field: [field("text", 1, 9)] },
      { name: "Many", field: [field("text", 1, 9), field("count", 2, 13)] }
    ],
    service: [
      { name: "Bench", method: [method("Say"), method("Denied"), method("Hold"), method("Items", ".bench.Many", true)] }
    ]
  }),
  () => undefined
).getService("bench.Bench")

interface Info {
  readonly port: number
  readonly server: Certificate
}

const dial = async ({ port, server }: Info): Promise<Client> => {
  const { cert, key } = await makeCertificate()
  const baseUrl = `https://${HOST}:${port}`
  const tls = { cert, key, ca: server.cert, minVersion: "TLSv1.3", checkServerIdentity: () => undefined }
  const sessionManager = new node.Http2SessionManager(baseUrl, undefined, tls)
  const state = await sessionManager.connect()
  if (state !== "idle") throw new Error(`connecting ended in the state ${state}`)
  const stub = connect.createClient(
    service,
    node.createConnectTransport({ baseUrl, httpVersion: "2", sessionManager, acceptCompression: [] })
  )
  return {
    call: (text) => stub.say({ text }),
    denied: () =>
      stub.denied({ text: "x" }).then(
        () => Promise.reject(new Error("not denied")),
        (error: unknown) => error
      ),
    hold: (text) => stub.hold({ text }),
    items: async (count, text) => {
      let length = 0
      for await (const item of stub.items({ count, text })) length += item.text.length
      return length
    },
    close: async () => sessionManager.abort()
  }
}

export const adapter: Adapter = {
  serve: async ({ worker }) => {
    const next = worker === undefined ? undefined : await dial(worker)
    const own = await makeCertificate()
    const listener = node.connectNodeAdapter({
      routes: (router) =>
        router.service(service, {
          say: async ({ text }) => (next === undefined ? { text } : ((await next.call!(text)) as Text)),
          denied: () => {
            throw new connect.ConnectError("denied", connect.Code.PermissionDenied)
          },
          hold: () => new Promise(() => {}),
          items: async function* ({ count, text }) {
            for (let index = 0; index < count; index++) yield { text }
          }
        })
    })
    const server = http2.createSecureServer(
      { cert: own.cert, key: own.key, requestCert: true, rejectUnauthorized: false, minVersion: "TLSv1.3" },
      listener
    )
    server.on("session", (session) => session.on("error", () => {}))
    server.listen(0, HOST)
    await once(server, "listening")
    return { info: { port: (server.address() as AddressInfo).port, server: own } satisfies Info }
  },
  connect: dial
}
