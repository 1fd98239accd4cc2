/** `alknet/sftp` between two nodes: rights, sessions and bytes (ssh.md section 3). */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import * as FolderTree from "../../../src/layers/files/FolderTree.ts"
import * as SftpHandler from "../../../src/layers/handlers/SftpHandler.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import { openSftp, type SftpClient } from "../../../src/layers/sftp/Client.ts"
import { readStream, writeStream } from "../../../src/layers/sftp/Transfer.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import type { FileError, OpenFlags } from "../../../src/services/FileTree.ts"
import { bytesOf, leavesNothing, soon, type TransportProvider } from "../transport/provider.ts"
import { endpointOf } from "../tunnel/tunnelNodes.ts"

const reading: OpenFlags = { read: true, write: false, append: false, create: false, truncate: false, exclusive: false }
const writing: OpenFlags = { ...reading, write: true, create: true }

/** A connection to a node that shows a folder. The scopes may change while it runs. */
const connectedWith = Effect.fnUntraced(function* (provider: TransportProvider, scopes: Array<string>) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-sftp-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )
  const { transport } = yield* provider.make({})
  const server = yield* makeEphemeralIdentity
  const client = yield* makeEphemeralIdentity
  const far = yield* endpointOf(transport, server, client, scopes, { listen: [{ host: "127.0.0.1", port: 0 }] })
  yield* Layer.build(
    SftpHandler.layer.pipe(Layer.provide(FolderTree.layer(folder)), Layer.provide(Layer.succeedContext(far)))
  )
  const near = yield* endpointOf(transport, client, server, [], {})
  const { addresses } = Context.get(far, Endpoint)
  const connection = yield* Context.get(near, Endpoint).connect(
    { nodeId: server.nodeId, addresses },
    SftpHandler.SFTP_ALPN
  )
  return { connection, folder }
})

const put = (client: SftpClient, path: string, bytes: Uint8Array) =>
  Effect.scoped(Effect.flatMap(client.open(path, writing), (file) => writeStream(file, Stream.make(bytes))))
const get = (client: SftpClient, path: string) =>
  Effect.scoped(Effect.flatMap(client.open(path, reading), (file) => Stream.runCollect(readStream(file)))).pipe(
    Effect.map((chunks) => Buffer.concat(chunks))
  )
const reasonOf = <A>(effect: Effect.Effect<A, FileError>) =>
  Effect.match(effect, { onSuccess: () => "ok", onFailure: ({ reason }) => reason as string })

export const sessionCases = (provider: TransportProvider): void => {
  it.live("megabytes go there and back, byte for byte", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connection, folder } = yield* connectedWith(provider, ["sftp:*"])
        const client = yield* openSftp(yield* connection.open)
        const bytes = bytesOf(5_000_003)
        yield* soon("the upload", put(client, "/big", bytes))
        assert.isTrue(readFileSync(join(folder, "big")).equals(bytes))
        assert.isTrue((yield* soon("the download", get(client, "/big"))).equals(bytes))
      }).pipe(Effect.orDie)
    )
  )

  it.live("each stream is a session of its own", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connection } = yield* connectedWith(provider, ["sftp:*"])
        if (!connection.multiStream) return
        const clients = yield* Effect.forEach(Array.from({ length: 20 }), (_, index) =>
          Effect.scoped(
            Effect.gen(function* () {
              const client = yield* openSftp(yield* connection.open)
              yield* put(client, `/${index}`, bytesOf(index))
              return (yield* get(client, `/${index}`)).length
            })
          )
        )
        assert.deepStrictEqual(
          clients,
          Array.from({ length: 20 }, (_, index) => index)
        )
      }).pipe(Effect.orDie)
    )
  )

  it.live("without sftp:read there is nothing, with what is beside it neither", () =>
    leavesNothing(
      Effect.gen(function* () {
        for (const scopes of [[], ["sftp:write"], ["ssh:*"], ["sftp:reader"]]) {
          const code = yield* Effect.scoped(
            Effect.gen(function* () {
              const { connection } = yield* connectedWith(provider, scopes)
              return (yield* soon("the refusal", connection.closed)).code
            })
          )
          assert.strictEqual(code, CloseCode.NoHandler, scopes.join())
        }
      }).pipe(Effect.orDie)
    )
  )

  it.live("with sftp:read alone nothing can be changed, and a right that is taken away is gone at once", () =>
    leavesNothing(
      Effect.gen(function* () {
        const scopes = ["sftp:read", "sftp:write"]
        const { connection } = yield* connectedWith(provider, scopes)
        const client = yield* openSftp(yield* connection.open)
        yield* put(client, "/file", Buffer.from("as it was"))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const open = yield* client.open("/file", { ...writing, read: true })
            scopes.pop()
            const changes: Record<string, Effect.Effect<void, FileError>> = {
              write: open.write(0, Buffer.from("x")),
              handle: open.setAttributes({ size: 0 }),
              open: Effect.asVoid(Effect.scoped(client.open("/file", writing))),
              create: Effect.asVoid(Effect.scoped(client.open("/new", { ...reading, create: true }))),
              truncate: Effect.asVoid(Effect.scoped(client.open("/file", { ...reading, truncate: true }))),
              attributes: client.setAttributes("/file", { mode: 0o777 }),
              link: client.linkSetAttributes("/file", { times: { accessed: 0, modified: 0 } }),
              mkdir: client.makeDirectory("/d"),
              rmdir: client.removeDirectory("/"),
              remove: client.remove("/file"),
              rename: client.rename("/file", "/other", false),
              replace: client.rename("/file", "/other", true),
              hard: client.hardLink("/file", "/other"),
              symbolic: client.symbolicLink("file", "/other"),
              copy: client.copy(open, open, { fromOffset: 0, length: 1, toOffset: 1 })
            }
            for (const [name, change] of Object.entries(changes)) {
              assert.strictEqual(yield* reasonOf(change), "Denied", name)
            }
            assert.strictEqual(Buffer.from(yield* open.read(0, 100)).toString(), "as it was")
          })
        )
        assert.strictEqual((yield* get(client, "/file")).toString(), "as it was")
      }).pipe(Effect.orDie)
    )
  )

  it.live("bytes that are no SFTP end their stream and nothing else", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connection } = yield* connectedWith(provider, ["sftp:*"])
        const stream = yield* connection.open
        yield* stream.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"))
        const error = yield* soon("the end", Effect.flip(stream.read))
        if (!connection.multiStream) return
        assert.deepInclude(error, { _tag: "StreamReset", code: CloseCode.ProtocolError })
        const client = yield* openSftp(yield* connection.open)
        assert.strictEqual(yield* client.realPath("."), "/")
      }).pipe(Effect.orDie)
    )
  )

  it.live("a connection that goes leaves no file open", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connection } = yield* connectedWith(provider, ["sftp:*"])
        const client = yield* openSftp(yield* connection.open)
        yield* put(client, "/file", bytesOf(10))
        for (let count = 0; count < 100; count++) yield* client.open("/file", reading)
        yield* client.list("/")
        yield* connection.close(CloseCode.NoError, "")
      }).pipe(Effect.orDie)
    )
  )
}
