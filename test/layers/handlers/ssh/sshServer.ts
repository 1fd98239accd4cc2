/** An SSH server of this process on a loopback port, whose peers and proven keys a test sets. */
import { spawn } from "node:child_process"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Context, Effect, Layer, Redacted, Result, type Scope } from "effect"
import ssh2 from "ssh2"
import * as ForwardPolicyLayer from "../../../../src/layers/ForwardPolicy.ts"
import * as MemoryTree from "../../../../src/layers/files/MemoryTree.ts"
import { listening } from "../../../../src/layers/forward/Listening.ts"
import { type SshServices, serveSsh } from "../../../../src/layers/handlers/ssh/Connection.ts"
import * as IdentityLayer from "../../../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../../../src/layers/LocalIdentity.ts"
import * as ShellLayer from "../../../../src/layers/Shell.ts"
import * as SshSessionsLayer from "../../../../src/layers/SshSessions.ts"
import * as MemoryPeerStore from "../../../../src/layers/store/MemoryPeerStore.ts"
import { type Fingerprint, fingerprintOfSshKey } from "../../../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../../../src/protocol/identity/NodeId.ts"
import { encodeEd25519Key, encodeEd25519PrivateKey } from "../../../../src/protocol/ssh/PrivateKey.ts"
import { AuditLog } from "../../../../src/services/AuditLog.ts"
import { FileTree } from "../../../../src/services/FileTree.ts"
import { PeerEntry, PeerStore } from "../../../../src/services/PeerStore.ts"
import { SshSessions } from "../../../../src/services/SshSessions.ts"
import { rule } from "../../../conformance/tunnel/tunnelNodes.ts"

/** An Ed25519 key of a user or an authority. */
export const newKey = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url")
  const seed = Buffer.from(privateKey.export({ format: "jwk" }).d!, "base64url")
  const blob = encodeEd25519Key(raw)
  return {
    raw,
    seed,
    blob,
    privateText: encodeEd25519PrivateKey(raw, seed).toString("latin1"),
    publicText: `ssh-ed25519 ${Buffer.from(blob).toString("base64")}`,
    fingerprint: fingerprintOf(blob)
  }
}

export const fingerprintOf = (blob: Uint8Array): Fingerprint => Result.getOrThrow(fingerprintOfSshKey(blob))

export const entryOf = (
  peerId: string,
  fingerprints: ReadonlyArray<Fingerprint>,
  scopes: ReadonlyArray<string>,
  enabled = true
) => new PeerEntry({ peerId, fingerprints, scopes, resources: {}, enabled, addresses: [] })

/** A folder of this test, removed at its end. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-ssh-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A private key where OpenSSH takes it. */
export const keyFile = (folder: string, name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  chmodSync(path, 0o600)
  return path
}

export interface ServerOptions {
  readonly peers: ReadonlyArray<PeerEntry>
  /** Key that every connection has proven. */
  readonly peerKey?: NodeId
  readonly recordings?: string
  readonly rekeyBytes?: number
}

export const sshServer = (options: ServerOptions) =>
  Effect.gen(function* () {
    const audit: Array<string> = []
    const local = yield* makeEphemeralIdentity
    const host = newKey()
    const hostKey = ssh2.utils.parseKey(host.privateText)
    if (!("type" in hostKey)) return yield* Effect.die("no host key")
    const context = yield* Layer.build(
      Layer.mergeAll(
        IdentityLayer.layer(local),
        AuditLog.layerCollect(audit),
        ShellLayer.layer({ shell: "/bin/bash" }),
        SshSessionsLayer.layer,
        MemoryTree.layer(),
        ForwardPolicyLayer.layer({ rules: [rule("allow", "127.0.0.0/8:*")] })
      ).pipe(
        Layer.provideMerge(
          MemoryPeerStore.layer({ initial: { peers: options.peers, apiKeys: [], grants: [] }, local: local.nodeId })
        )
      )
    )
    const services: Context.Context<SshServices> = context
    const port = yield* listening({ host: "127.0.0.1", port: 0 }, ({ origin, socket }) =>
      serveSsh(
        socket,
        { connectionId: randomBytes(4).toString("hex"), peerKey: options.peerKey, remoteAddress: origin },
        {
          hostKey,
          recordings: options.recordings,
          tree: Context.get(context, FileTree),
          ...(options.rekeyBytes === undefined ? {} : { rekeyBytes: options.rekeyBytes })
        },
        Effect.never
      ).pipe(Effect.scoped, Effect.provide(services))
    )
    return {
      port,
      audit,
      host,
      store: Context.get(context, PeerStore),
      sessions: Context.get(context, SshSessions),
      secret: Redacted.make(host.seed)
    }
  })

export interface Ran {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a foreign program to its end; killed with the fiber. */
export const runProgram = (
  program: string,
  args: ReadonlyArray<string>,
  input: string | Uint8Array = ""
): Effect.Effect<Ran> =>
  Effect.callback((resume) => {
    const child = spawn(program, args, { stdio: "pipe", detached: true })
    const out: Array<Buffer> = []
    const error: Array<Buffer> = []
    child.stdout.on("data", (bytes: Buffer) => out.push(bytes))
    child.stderr.on("data", (bytes: Buffer) => error.push(bytes))
    child.stdin.on("error", () => {})
    child.stdin.end(input)
    child.on("close", (code) =>
      resume(Effect.succeed({ code, stdout: Buffer.concat(out), stderr: Buffer.concat(error).toString("utf8") }))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** What every call of OpenSSH's `ssh` gets: nothing of the developer's own. */
export const sshArgs = (port: number, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...["-F", "/dev/null", "-p", String(port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"],
  ...["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentityAgent=none"],
  ...["-o", "IdentitiesOnly=yes", ...more, "alice@127.0.0.1"]
]
