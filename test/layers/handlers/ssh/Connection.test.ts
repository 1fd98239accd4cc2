/** Logins and the life of a connection, with ssh2's own client. */
import { connect, createServer } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import ssh2, { type Client, type ClientChannel, type ConnectConfig } from "ssh2"
import { fingerprintOfNode } from "../../../../src/protocol/identity/Fingerprint.ts"
import { newNodeId } from "../../store/PeerFixtures.ts"
import { entryOf, newKey, sshServer } from "./sshServer.ts"

interface Attempt {
  readonly client: Client
  /** Undefined: it is in. */
  readonly refusal: string | undefined
  readonly closed: Effect.Effect<void>
}

const login = (port: number, config: ConnectConfig): Effect.Effect<Attempt, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Attempt>((resume) => {
      const client = new ssh2.Client()
      let isClosed = false
      const waiting: Array<() => void> = []
      client.once("close", () => {
        isClosed = true
        for (const tell of waiting) tell()
      })
      const closed = Effect.callback<void>((tell) => {
        if (isClosed) tell(Effect.void)
        else waiting.push(() => tell(Effect.void))
      })
      client.on("ready", () => resume(Effect.succeed({ client, refusal: undefined, closed })))
      client.on("error", (error) => resume(Effect.succeed({ client, refusal: error.message, closed })))
      client.on("close", () => resume(Effect.succeed({ client, refusal: "closed", closed })))
      client.connect({ host: "127.0.0.1", port, username: "alice", ...config })
    }),
    ({ client }) => Effect.sync(() => client.destroy())
  )

const exec = (client: Client, command: string): Effect.Effect<ClientChannel | undefined> =>
  Effect.callback((resume) => {
    client.exec(command, (error, channel) => resume(Effect.succeed(error === undefined ? channel : undefined)))
  })

/** All that comes, until the channel is closed. */
const outputOf = (channel: ClientChannel): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    channel.on("data", (bytes: Buffer) => chunks.push(bytes))
    channel.on("close", () => resume(Effect.succeed(Buffer.concat(chunks).toString("utf8"))))
  })

const node = newNodeId()

describe("logins", () => {
  it.live("a connection that has proven a peer with rights here needs no key, and others do", () =>
    Effect.gen(function* () {
      const try_ = (scopes: ReadonlyArray<string>, enabled = true) =>
        Effect.gen(function* () {
          const peers = [entryOf("alice", [fingerprintOfNode(node)], scopes, enabled)]
          const { port } = yield* sshServer({ peers, peerKey: node })
          return (yield* login(port, {})).refusal === undefined
        }).pipe(Effect.scoped)
      for (const scope of ["ssh:shell", "ssh:exec:ls", "*", "sftp:read"]) assert.isTrue(yield* try_([scope]), scope)
      for (const scopes of [[], ["msg:send"], ["sshx:shell"], ["fs:read"]]) assert.isFalse(yield* try_(scopes))
      assert.isFalse(yield* try_(["*"], false))
    })
  )

  it.live("where the connection and the key name two peers, nobody is let in", () =>
    Effect.gen(function* () {
      const key = newKey()
      const peers = [entryOf("alice", [fingerprintOfNode(node)], []), entryOf("bob", [key.fingerprint], ["*"])]
      const { audit, port } = yield* sshServer({ peers, peerKey: node })
      assert.isDefined((yield* login(port, { privateKey: key.privateText })).refusal)
      assert.isTrue(audit.some((line) => /auth\.reject .*method=sshkey .*reason=mismatch/.test(line)))
      // A connection of nobody that is known says nothing about the key.
      const stranger = yield* sshServer({ peers: [peers[1]!], peerKey: newNodeId() })
      assert.isUndefined((yield* login(stranger.port, { privateKey: key.privateText })).refusal)
    })
  )

  it.live("unknown and disabled keys and passwords are refused and logged, and the sixth failure ends it", () =>
    Effect.gen(function* () {
      const [key, disabled] = [newKey(), newKey()]
      const { audit, port } = yield* sshServer({ peers: [entryOf("bob", [disabled.fingerprint], ["*"], false)] })
      yield* login(port, { privateKey: key.privateText, password: "x" })
      yield* login(port, { privateKey: disabled.privateText })
      const rejects = audit.filter((line) => line.includes("auth.reject"))
      assert.isTrue(rejects.some((line) => line.endsWith(`method=sshkey credential=${key.fingerprint} reason=unknown`)))
      assert.isTrue(rejects.some((line) => line.endsWith("credential=- reason=malformed")))
      assert.isTrue(rejects.some((line) => line.endsWith("reason=disabled")))

      const before = audit.length
      let asked = 0
      const many = yield* login(port, {
        authHandler: (_left, _partial, next) => {
          asked++
          next({ type: "password", username: "alice", password: String(asked) })
        }
      })
      yield* many.closed
      assert.strictEqual(audit.length - before, 6)
    })
  )

  it.live("a client that speaks no SSH costs its connection", () =>
    Effect.gen(function* () {
      const { port } = yield* sshServer({ peers: [] })
      const ended = (bytes: string | Uint8Array) =>
        Effect.callback<void>((resume) => {
          const socket = connect({ host: "127.0.0.1", port }, () => socket.write(bytes))
          socket.on("error", () => {})
          socket.resume()
          socket.on("close", () => resume(Effect.void))
          return Effect.sync(() => socket.destroy())
        })
      yield* ended("GET / HTTP/1.1\r\n\r\n")
      yield* ended(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), Buffer.alloc(4096, 0xff)]))
      yield* ended("x".repeat(20_000))
    })
  )
})

describe("a connection", () => {
  it.live("ends when its peer is removed, and its program with it", () =>
    Effect.gen(function* () {
      const key = newKey()
      const { port, sessions, store } = yield* sshServer({
        peers: [entryOf("alice", [key.fingerprint], ["ssh:exec:*"])]
      })
      const { client, closed } = yield* login(port, { privateKey: key.privateText })
      const channel = yield* exec(client, "echo $$; exec sleep 1000")
      const pid = yield* firstLine(channel!)
      assert.isTrue(isAlive(Number(pid)))
      const [session] = yield* sessions.list
      assert.deepInclude(session, { peer: "alice", kind: "exec", command: "echo $$; exec sleep 1000" })
      yield* Effect.orDie(store.remove("alice"))
      yield* closed
      yield* until(() => !isAlive(Number(pid)))
      yield* untilEmpty(sessions.list)
    })
  )

  it.live("asks for each request anew what the peer may do", () =>
    Effect.gen(function* () {
      const key = newKey()
      const { port, store } = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], ["ssh:exec:*"])] })
      const { client } = yield* login(port, { privateKey: key.privateText })
      assert.strictEqual(yield* outputOf((yield* exec(client, "echo 1"))!), "1\n")
      yield* Effect.orDie(store.update("alice", (entry) => ({ ...entry, scopes: ["ssh:shell"] })))
      assert.isUndefined(yield* exec(client, "echo 2"))
    })
  )

  it.live("a session that the operator ends is over, and the connection goes on", () =>
    Effect.gen(function* () {
      const key = newKey()
      const { port, sessions } = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], ["ssh:exec:*"])] })
      const { client } = yield* login(port, { privateKey: key.privateText })
      const channel = yield* exec(client, "echo $$; exec sleep 1000")
      const pid = Number(yield* firstLine(channel!))
      const [session] = yield* sessions.list
      assert.isFalse(yield* sessions.end("s999"))
      assert.isTrue(yield* sessions.end(session!.id))
      yield* until(() => !isAlive(pid))
      assert.strictEqual(yield* outputOf((yield* exec(client, "echo on"))!), "on\n")
    })
  )

  it.live("a signal reaches the program, also after the end of its input", () =>
    Effect.gen(function* () {
      const key = newKey()
      const { port } = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], ["ssh:exec:*"])] })
      const { client } = yield* login(port, { privateKey: key.privateText })
      const channel = (yield* exec(
        client,
        "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
      ))!
      yield* firstLine(channel)
      const ended = Effect.callback<readonly [number | null, string]>((resume) => {
        let text = ""
        channel.on("data", (bytes: Buffer) => (text += bytes.toString("utf8")))
        channel.on("exit", (code: number) => channel.on("close", () => resume(Effect.succeed([code, text]))))
      })
      channel.resume()
      channel.eof()
      // The client of ssh2 sends none after its end of input; others do.
      const protocol: { readonly signal: (channel: number, name: string) => void } = Reflect.get(client, "_protocol")
      const id = Number(Reflect.get(Object(Reflect.get(channel, "outgoing")), "id"))
      protocol.signal(id, "USR1")
      assert.deepStrictEqual(yield* ended, [9, "caught\n"])
    })
  )

  it.live("a client that does not read its output holds up the program and not the node", () =>
    Effect.gen(function* () {
      const key = newKey()
      const { port, sessions } = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], ["ssh:exec:*"])] })
      const { client } = yield* login(port, { privateKey: key.privateText })
      const channel = (yield* exec(client, "head -c 50000000 /dev/zero"))!
      // The window of the client is 2 MiB, and it has not read a byte.
      let last = -1
      yield* until(() => {
        const [session] = Effect.runSync(sessions.list)
        const isStill = session !== undefined && session.bytesSent === last && last > 0
        last = session?.bytesSent ?? -1
        return isStill
      })
      assert.isBelow(last, 10_000_000)
      assert.strictEqual((yield* outputOf(channel)).length, 50_000_000)
    })
  )

  it.live("a forwarded connection keeps its half-close in both directions", () =>
    Effect.gen(function* () {
      const key = newKey()
      const server = yield* Effect.acquireRelease(
        Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
          // Answers when it has heard everything.
          const server = createServer({ allowHalfOpen: true }, (socket) => {
            let bytes = 0
            socket.on("data", (chunk) => (bytes += chunk.length))
            socket.on("end", () => socket.end(`heard ${bytes}`))
          })
          server.listen({ host: "127.0.0.1", port: 0 }, () => {
            const bound = server.address()
            const port = typeof bound === "object" && bound !== null ? bound.port : 0
            resume(Effect.succeed({ port, close: () => server.close() }))
          })
        }),
        ({ close }) => Effect.sync(close)
      )
      const { port } = yield* sshServer({
        peers: [entryOf("alice", [key.fingerprint], [`ssh:forward:127.0.0.1:${server.port}`])]
      })
      const { client } = yield* login(port, { privateKey: key.privateText })
      const channel = yield* Effect.callback<ClientChannel>((resume) => {
        client.forwardOut("127.0.0.1", 1, "127.0.0.1", server.port, (_error, channel) =>
          resume(Effect.succeed(channel))
        )
      })
      const said = outputOf(channel)
      channel.end(Buffer.alloc(1_000_000))
      assert.strictEqual(yield* said, "heard 1000000")
    })
  )
})

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Looks again and again; the bound is that of the test. */
const until = (isTrue: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (isTrue() ? Effect.void : Effect.andThen(Effect.sleep("50 millis"), until(isTrue))))

const untilEmpty = (list: Effect.Effect<ReadonlyArray<unknown>>) => until(() => Effect.runSync(list).length === 0)

/** Taken with `once`, so that what comes after it is left for others. */
const firstLine = (channel: ClientChannel): Effect.Effect<string> =>
  Effect.callback((resume) => {
    channel.once("data", (bytes: Buffer) => {
      channel.pause()
      resume(Effect.succeed(bytes.toString("utf8").trim()))
    })
  })
