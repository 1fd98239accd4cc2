/**
 * One SSH connection over a Duplex: the handshake and login within a time, then sessions and forwards until either side ends
 * it, the peer is removed, or the node goes.
 *
 * Keys change after 1 GiB and after an hour; a client that says nothing for 15 seconds is asked whether it is there, and is
 * gone after three times.
 */
import type { Duplex } from "node:stream"
import { Deferred, Duration, Effect, Exit, FiberSet, type Scope, Stream, SubscriptionRef } from "effect"
import ssh2, { type AuthContext, type ParsedKey, type Connection as SshConnection } from "ssh2"
import { AuditLog } from "../../../services/AuditLog.ts"
import type { FileTree } from "../../../services/FileTree.ts"
import type { ForwardPolicy } from "../../../services/ForwardPolicy.ts"
import { Identity, type Principal } from "../../../services/Identity.ts"
import type { Shell } from "../../../services/Shell.ts"
import type { SshSessions } from "../../../services/SshSessions.ts"
import { ALGORITHMS } from "./Algorithms.ts"
import { Carrier } from "./ChannelStream.ts"
import { serveForwards } from "./Forwards.ts"
import { type Caller, isKeyAttempt, type Login, loginByConnection, loginByKey } from "./Login.ts"
import { serveSession } from "./Session.ts"

/** From the first byte to the login. */
export const LOGIN_WITHIN = Duration.seconds(60)
/** Failed attempts that end a connection (ssh.md section 2). */
export const FAILURES_MAX = 6
/** Sessions of one connection at once. */
const SESSIONS_MAX = 64
const REKEY_BYTES = 1_073_741_824
const REKEY_EVERY = Duration.hours(1)
const KEEPALIVE_MILLIS = 15_000
const KEEPALIVE_COUNT = 3
/** How long the last words may take. */
const FLUSH_WITHIN = Duration.seconds(1)

export type SshServices = AuditLog | ForwardPolicy | Identity | Shell | SshSessions

export interface SshConnectionOptions {
  readonly hostKey: ParsedKey
  /** Folder for recordings of terminal sessions; undefined: none are made. */
  readonly recordings: string | undefined
  /** Files for `sftp`; undefined: none. */
  readonly tree: FileTree["Service"] | undefined
  /** After so many bytes the keys change. Default 1 GiB. */
  readonly rekeyBytes?: number
}

/** Where a connection comes from, and its name in the logs. */
export interface SshCaller extends Caller {
  readonly connectionId: string
}

/** Serves one client to its end; never fails. */
export const serveSsh = (
  duplex: Duplex,
  caller: SshCaller,
  options: SshConnectionOptions,
  draining: Effect.Effect<void>
): Effect.Effect<void, never, SshServices | Scope.Scope> =>
  Effect.gen(function* () {
    const { hostKey, recordings, tree } = options
    const identity = yield* Identity
    const over = yield* Deferred.make<void>()
    const ready = yield* Deferred.make<void>()
    const fibers = yield* FiberSet.make<void>()
    const runFiber = yield* FiberSet.runtime(fibers)<SshServices>()
    const run = (effect: Effect.Effect<void, never, SshServices>) => void runFiber(effect)
    const end = () => Deferred.doneUnsafe(over, Exit.void)

    const client = yield* open(duplex, hostKey, end)
    if (client === undefined) return
    let login: Login | undefined
    const attempt = makeAttempts(caller, client, (entered) => {
      login = entered
      Deferred.doneUnsafe(ready, Exit.void)
    })
    client.on("authentication", (context) => run(attempt(context)))

    // Everything is listened to before the login is told: a client may send its first request right behind.
    const principal = (): Principal | undefined => (login === undefined ? undefined : Effect.runSync(login.principal))
    let sinceKeys = 0
    const rekeyBytes = options.rekeyBytes ?? REKEY_BYTES
    const carrier = new Carrier(duplex, (bytes) => {
      sinceKeys += bytes
      if (sinceKeys < rekeyBytes) return
      sinceKeys = 0
      queueMicrotask(() => rekey(client))
    })
    let sessions = 0
    let isDraining = false
    client.on("session", (accept, reject) => {
      if (sessions >= SESSIONS_MAX || isDraining || login === undefined) {
        reject()
        return
      }
      sessions++
      const session = accept()
      session.once("close", () => sessions--)
      serveSession(session, { login, caller, carrier, recordings, tree, principal, run })
    })
    const mayForward = () => !isDraining && login?.limits.mayForward === true
    yield* serveForwards(client, { carrier, principal, mayForward, run })

    const serve = Effect.gen(function* () {
      yield* Deferred.await(ready)
      yield* Effect.forkScoped(
        Effect.forever(
          Effect.andThen(
            Effect.sleep(REKEY_EVERY),
            Effect.sync(() => rekey(client))
          )
        )
      )
      const expelled = SubscriptionRef.changes(identity.snapshot).pipe(
        Stream.takeWhile(() => principal() !== undefined),
        Stream.runDrain
      )
      const drained = Effect.andThen(
        draining,
        Effect.suspend(() => {
          isDraining = true
          return FiberSet.awaitEmpty(fibers)
        })
      )
      yield* Effect.raceFirst(expelled, drained)
    })
    const inTime = Effect.timeoutOption(Deferred.await(ready), LOGIN_WITHIN)
    const late = Effect.flatMap(inTime, (login) => (login._tag === "Some" ? Effect.never : Effect.void))
    yield* Effect.raceFirst(Deferred.await(over), Effect.raceFirst(serve, late))
    yield* leave(client, duplex)
    yield* FiberSet.clear(fibers)
  }).pipe(Effect.catchDefect((defect) => Effect.logError("an ssh connection failed", defect)))

/** The client of this Duplex, when it has said that it speaks SSH; undefined: it did not. */
const open = (duplex: Duplex, hostKey: ParsedKey, end: () => void): Effect.Effect<SshConnection | undefined> =>
  Effect.callback((resume) => {
    const leave = () => {
      end()
      resume(Effect.succeed(undefined))
    }
    const overdue = setTimeout(leave, Duration.toMillis(LOGIN_WITHIN))
    const server = new ssh2.Server(
      {
        hostKeys: [{ key: hostKey }],
        algorithms: ALGORITHMS,
        ident: "Alknet",
        keepaliveInterval: KEEPALIVE_MILLIS,
        keepaliveCountMax: KEEPALIVE_COUNT
      },
      (client) => {
        clearTimeout(overdue)
        // What is wrong is seen at its end.
        client.on("error", end)
        client.on("end", end)
        client.on("close", end)
        resume(Effect.succeed(client))
      }
    )
    duplex.on("error", leave)
    duplex.once("end", leave)
    duplex.once("close", leave)
    // It asks for a socket of `node:net`, and uses it as a Duplex.
    Reflect.apply(server.injectSocket, server, [duplex])
    return Effect.sync(() => clearTimeout(overdue))
  })

/** Decides attempts to log in, one after the other, as ssh2 gives them out. */
const makeAttempts = (caller: SshCaller, client: SshConnection, enter: (login: Login) => void) => {
  let failures = 0
  let isFirst = true
  const origin = { conn: caller.connectionId, remote: caller.remoteAddress, method: "sshkey" } as const

  const fail = (context: AuthContext): void => {
    context.reject(["publickey"])
    if (++failures >= FAILURES_MAX) client.end()
  }

  return (context: AuthContext): Effect.Effect<void, never, AuditLog | Identity> =>
    Effect.gen(function* () {
      if (failures >= FAILURES_MAX) return
      const identity = yield* Identity
      const audit = yield* AuditLog
      // Clients ask in this way what they may try; that is no failure, once.
      const isQuestion = context.method === "none" && isFirst
      isFirst = false
      if (context.method === "none") {
        const login = yield* loginByConnection(identity, caller)
        if (login === undefined) return isQuestion ? context.reject(["publickey"]) : fail(context)
        enter(login)
        return context.accept()
      }
      if (!isKeyAttempt(context)) {
        yield* audit.record({ event: "auth.reject", ...origin, credential: "-", reason: "malformed" })
        return fail(context)
      }
      const verdict = yield* loginByKey(identity, caller, context)
      const { credential } = verdict
      yield* audit.record({ event: "auth.attempt", ...origin, credential })
      if (verdict._tag === "Refused") {
        yield* audit.record({ event: "auth.reject", ...origin, credential, reason: verdict.reason })
        return fail(context)
      }
      if (context.signature !== undefined) {
        yield* audit.record({ event: "auth.accept", ...origin, credential, peer: verdict.login.peerId })
        enter(verdict.login)
      }
      context.accept()
    })
}

const rekey = (client: SshConnection): void => {
  try {
    client.rekey()
  } catch {
    // The connection has just ended.
  }
}

/** Says goodbye, and gives the last bytes a moment. */
const leave = (client: SshConnection, duplex: Duplex): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const done = () => resume(Effect.void)
    if (duplex.destroyed || duplex.writableFinished) return done()
    duplex.once("finish", done)
    duplex.once("close", done)
    client.end()
    if (!duplex.writableEnded) duplex.end()
  }).pipe(Effect.timeoutOption(FLUSH_WITHIN), Effect.asVoid)
