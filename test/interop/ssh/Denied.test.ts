/** SSH-I13: what a peer may not do, row by row: without any scope, and with the scope of a neighbour. */
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  entryOf,
  keyFile,
  newKey,
  type Ran,
  runProgram,
  sshArgs,
  sshServer,
  temporaryFolder
} from "../../layers/handlers/ssh/sshServer.ts"

interface Row {
  readonly name: string
  /** The scope that is needed, and those of neighbours. */
  readonly scope: string
  readonly neighbours: ReadonlyArray<string>
  readonly program?: "ssh" | "sftp"
  readonly options: ReadonlyArray<string>
  readonly command: ReadonlyArray<string>
  readonly input?: string
  /** How it looks when it is allowed, and what OpenSSH says when it is not. */
  readonly works: (ran: Ran) => boolean
  readonly says: RegExp
}

const out = ({ stdout }: Ran) => stdout.toString("utf8")

const rows = (ports: { readonly echo: number; readonly free: number }, socket: string): ReadonlyArray<Row> => [
  {
    name: "a shell",
    scope: "ssh:shell",
    neighbours: ["ssh:exec:*", "ssh:shell:x", "sftp:*"],
    options: ["-tt"],
    command: [],
    input: "echo $((6*7))x; exit 0\n",
    works: (ran) => ran.code === 0 && out(ran).includes("42x"),
    says: /shell request failed on channel 0/
  },
  {
    name: "a program",
    scope: "ssh:exec:echo",
    neighbours: ["ssh:exec:ech", "ssh:exec:echo:x", "ssh:shell", "ssh:exec:%65cho"],
    options: [],
    command: ["echo in"],
    works: (ran) => ran.code === 0 && out(ran) === "in\n",
    says: /exec request failed on channel 0/
  },
  {
    name: "files",
    scope: "sftp:read",
    neighbours: ["sftp:write", "fs:read", "ssh:exec:sftp"],
    program: "sftp",
    options: [],
    command: [],
    input: "pwd\n",
    works: (ran) => ran.code === 0 && out(ran).includes("Remote working directory"),
    says: /subsystem request failed/
  },
  {
    name: "a connection onwards",
    scope: `ssh:forward:127.0.0.1:${ports.echo}`,
    neighbours: [
      `ssh:forward:127.0.0.2:${ports.echo}`,
      "ssh:forward:127.0.0.1:1",
      `ssh:listen:127.0.0.1:${ports.echo}`
    ],
    options: ["-W", `127.0.0.1:${ports.echo}`],
    command: [],
    input: "hello",
    works: (ran) => out(ran) === "hello",
    says: /stdio forwarding failed/
  },
  {
    name: "a listener",
    scope: `ssh:listen:127.0.0.1:${ports.free}`,
    neighbours: ["ssh:listen:127.0.0.1:1", `ssh:listen:0.0.0.0:${ports.free}`, `ssh:forward:127.0.0.1:${ports.free}`],
    options: ["-o", "ExitOnForwardFailure=yes", "-R", `127.0.0.1:${ports.free}:127.0.0.1:${ports.echo}`],
    // The program proves that the client got past the forward.
    command: ["true"],
    works: (ran) => ran.code === 0,
    says: /remote port forwarding failed/
  },
  {
    name: "a socket of the machine",
    scope: `ssh:socket:${socket}`,
    neighbours: [`ssh:socket:${socket}x`, `ssh:socket:${join(socket, "..")}`, "ssh:listen:*"],
    options: ["-o", "ExitOnForwardFailure=yes", "-R", `${socket}:127.0.0.1:${ports.echo}`],
    command: ["true"],
    works: (ran) => ran.code === 0,
    says: /remote port forwarding failed/
  }
]

const listen = Effect.map(
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly server: Server }>((resume) => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("error", () => {})
        socket.pipe(socket)
      })
      server.listen({ host: "127.0.0.1", port: 0 }, () => {
        const bound = server.address()
        resume(Effect.succeed({ port: typeof bound === "object" && bound !== null ? bound.port : 0, server }))
      })
    }),
    ({ server }) => Effect.sync(() => server.close())
  ),
  ({ port }) => port
)

it.live("SSH-I13 each row works with its scope, and is denied without it and with the scope of a neighbour", () =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const socket = join(folder, "new.sock")
    const echo = yield* listen
    const free = yield* Effect.scoped(listen)
    const key = newKey()
    const identity = keyFile(folder, "id", key.privateText)
    for (const row of rows({ echo, free }, socket)) {
      const run = (scopes: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          // The listener needs a program to show that it is there, which every case of it may run.
          const given = row.command[0] === "true" ? [...scopes, "ssh:exec:true"] : scopes
          const server = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], given)] })
          const args = sshArgs(server.port, "-i", identity, ...row.options)
          if (row.program !== "sftp") return yield* runProgram("ssh", [...args, ...row.command], row.input)
          const plain = args.map((arg) => (arg === "-p" ? "-P" : arg))
          return yield* runProgram("sftp", ["-b", "-", ...plain], row.input)
        }).pipe(Effect.scoped)
      const allowed = yield* run([row.scope])
      assert.isTrue(row.works(allowed), `${row.name}: ${allowed.code} ${out(allowed)} ${allowed.stderr}`)
      for (const scopes of [[], ...row.neighbours.map((one) => [one])]) {
        const denied = yield* run(scopes)
        const what = `${row.name} with ${scopes.join(" ")}: ${denied.code} ${out(denied)} ${denied.stderr}`
        assert.isFalse(row.works(denied), what)
        assert.strictEqual(denied.code, 255, what)
        assert.match(denied.stderr, row.says, what)
      }
    }
  })
)

it.live("SSH-I13 agent and X11 forwarding are refused whatever the scopes, and the session goes on", () =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const key = newKey()
    const identity = keyFile(folder, "id", key.privateText)
    const { port } = yield* sshServer({ peers: [entryOf("alice", [key.fingerprint], ["*"])] })
    const ran = yield* runProgram("ssh", [
      ...sshArgs(port, "-i", identity, "-A", "-X"),
      "echo agent=$SSH_AUTH_SOCK display=$DISPLAY."
    ])
    assert.deepStrictEqual([ran.code, out(ran)], [0, "agent= display=.\n"])
  })
)
