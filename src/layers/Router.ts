/**
 * The router: see `services/Router.ts` for what it promises.
 *
 * A connection is checked, then served in a scope of its own under the fiber of `serve`. Three things end it from
 * outside: its registration goes (drain), the node goes (drain), or its peer loses the right to be there (ID-R31).
 */
import { randomUUID } from "node:crypto"
import { Cause, Deferred, Duration, Effect, Exit, Layer, Option, Stream, SubscriptionRef } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import { CloseCode } from "../protocol/CloseCode.ts"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import { scopesMatch } from "../protocol/identity/Scope.ts"
import { AuditLog } from "../services/AuditLog.ts"
import { type AuthContext, Identity, type Principal } from "../services/Identity.ts"
import { type Access, AlpnTaken, type Registration, Router } from "../services/Router.ts"
import { type Connection, ConnectionClosed, EndOfStream, StreamReset } from "../services/Transport.ts"
import { peerOfNode } from "./PeerIndex.ts"

const DRAIN_TIMEOUT = Duration.seconds(2)

interface Live {
  readonly connection: Connection
  /** Who it was when it came. */
  readonly identity: Principal | undefined
  readonly draining: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<void>
  /** Interrupts the handler: the drain time is over, or its peer lost the right to be here. */
  expel: () => void
}

interface Entry {
  readonly registration: Registration
  readonly live: Set<Live>
}

/** What the router says about a peer that asks for an ALPN. */
type Verdict =
  | { readonly _tag: "Admitted"; readonly identity: Principal | undefined }
  | { readonly _tag: "Denied"; readonly reason: "nocert" | "unknown" | "disabled" }

export const layer: Layer.Layer<Router, never, Identity | AuditLog> = Layer.effect(
  Router,
  Effect.gen(function* () {
    const identity = yield* Identity
    const audit = yield* AuditLog
    const entries = new Map<Alpn, Entry>()
    const all = new Set<Live>()
    let nodeAlpns: ReadonlyArray<Alpn> = []
    let webAlpns: ReadonlyArray<Alpn> = []
    let draining = false

    const refreshOffer = () => {
      const registrations = [...entries.values()].map((entry) => entry.registration)
      nodeAlpns = registrations.map((registration) => registration.alpn)
      webAlpns = registrations.filter(({ access }) => access === "anonymous").map((registration) => registration.alpn)
    }

    const judge = (access: Access, { peer }: Connection): Effect.Effect<Verdict> => {
      if (peer === undefined) {
        return Effect.succeed(
          access === "anonymous" ? { _tag: "Admitted", identity: undefined } : { _tag: "Denied", reason: "nocert" }
        )
      }
      return Effect.gen(function* () {
        const principal = Option.getOrUndefined(yield* identity.resolveFromFingerprint(fingerprintOfNode(peer)))
        if (access === "anonymous") return { _tag: "Admitted", identity: principal }
        if (principal === undefined) {
          const entry = peerOfNode(yield* SubscriptionRef.get(identity.snapshot), peer)
          return { _tag: "Denied", reason: entry?.enabled === false ? "disabled" : "unknown" }
        }
        if (access !== "known-peer" && !scopesMatch(principal.scopes, access.scope)) {
          return { _tag: "Denied", reason: "unknown" }
        }
        return { _tag: "Admitted", identity: principal }
      })
    }

    const turnAway = (connection: Connection) => connection.close(CloseCode.NoHandler, "")

    /** Asks these connections to end and closes what is left after the time. */
    const drainAll = (connections: ReadonlyArray<Live>, timeout: Duration.Input) =>
      Effect.gen(function* () {
        for (const { draining } of connections) Deferred.doneUnsafe(draining, Exit.void)
        const left = Effect.forEach(connections, (live) => Deferred.await(live.ended), { discard: true })
        yield* Effect.timeoutOption(left, timeout)
        for (const live of connections) {
          if (Deferred.isDoneUnsafe(live.ended)) continue
          yield* live.connection.close(CloseCode.Draining, "")
          live.expel()
        }
      })

    const run = (entry: Entry, connection: Connection, auth: AuthContext) =>
      Effect.withFiber((fiber) => {
        const live: Live = {
          connection,
          identity: auth.identity,
          draining: Deferred.makeUnsafe(),
          ended: Deferred.makeUnsafe(),
          expel: () => fiber.interruptUnsafe()
        }
        entry.live.add(live)
        all.add(live)
        return Effect.scoped(entry.registration.accept(connection, auth, Deferred.await(live.draining))).pipe(
          Effect.onExit((exit) => {
            entry.live.delete(live)
            all.delete(live)
            live.expel = () => {}
            Deferred.doneUnsafe(live.ended, Exit.void)
            return closeAfter(connection, exit, Deferred.isDoneUnsafe(live.draining))
          })
        )
      })

    const serve = (connection: Connection): Effect.Effect<void> =>
      Effect.gen(function* () {
        const entry = entries.get(connection.alpn)
        if (entry === undefined || draining) return yield* turnAway(connection)
        const verdict = yield* judge(entry.registration.access, connection)
        if (verdict._tag === "Denied") {
          yield* audit.record({ event: "auth.reject", ...credentialOf(connection), reason: verdict.reason })
          return yield* turnAway(connection)
        }
        if (verdict.identity !== undefined) {
          yield* audit.record({ event: "auth.accept", ...credentialOf(connection), peer: verdict.identity.id })
        }
        const auth: AuthContext = {
          identity: verdict.identity,
          alpn: connection.alpn,
          remoteAddress: connection.remoteAddress,
          peerKey: connection.peer
        }
        yield* run(entry, connection, auth).pipe(
          Effect.annotateLogs({ connection: connection.id, alpn: connection.alpn, peer: verdict.identity?.id ?? "-" })
        )
      }).pipe(Effect.catchCause(() => Effect.void))

    const register = Effect.fn("Router.register")(function* (registration: Registration) {
      const entry: Entry = { registration, live: new Set() }
      yield* Effect.acquireRelease(
        Effect.suspend(() => {
          if (entries.has(registration.alpn)) return Effect.fail(new AlpnTaken({ alpn: registration.alpn }))
          entries.set(registration.alpn, entry)
          refreshOffer()
          return Effect.void
        }),
        () =>
          Effect.suspend(() => {
            entries.delete(registration.alpn)
            refreshOffer()
            return drainAll([...entry.live], registration.drainTimeout ?? DRAIN_TIMEOUT)
          })
      )
    })

    // A peer that is removed, disabled or loses the scope for an ALPN loses its connections (ID-R31).
    yield* SubscriptionRef.changes(identity.snapshot).pipe(
      Stream.runForEach(() =>
        Effect.forEach(
          [...entries.values()],
          ({ live, registration }) =>
            Effect.forEach(
              [...live],
              (live) =>
                Effect.flatMap(judge(registration.access, live.connection), (verdict) => {
                  const before = live.identity
                  const isStill =
                    verdict._tag === "Admitted" && (before === undefined || verdict.identity !== undefined)
                  if (isStill) return Effect.void
                  return Effect.andThen(turnAway(live.connection), Effect.sync(live.expel))
                }),
              { discard: true }
            ),
          { discard: true }
        )
      ),
      Effect.forkScoped
    )

    return Router.of({
      register,
      offered: { node: () => nodeAlpns, web: () => webAlpns },
      registrations: Effect.sync(() => [...entries.values()].map((entry) => entry.registration)),
      serve,
      drain: (timeout) =>
        Effect.suspend(() => {
          draining = true
          return drainAll([...all], timeout)
        })
    })
  })
)

const credentialOf = (connection: Connection) => ({
  conn: connection.id,
  remote: connection.remoteAddress,
  method: "cert" as const,
  credential: connection.peer ?? "-"
})

/** The end of the connection, seen as an error by a handler that was reading or writing: nothing went wrong. */
const isConnectionEnd = (error: unknown): boolean =>
  error instanceof ConnectionClosed || error instanceof StreamReset || error instanceof EndOfStream

/** How the end of a handler shows to the peer; a failure or defect leaves a log line under an incident id. */
const closeAfter = (connection: Connection, exit: Exit.Exit<void, unknown>, wasDraining: boolean) => {
  if (Exit.isSuccess(exit)) return connection.close(wasDraining ? CloseCode.Draining : CloseCode.NoError, "")
  const failure = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (!Cause.hasDies(exit.cause) && isConnectionEnd(failure)) return connection.close(CloseCode.NoError, "")
  if (Cause.hasInterruptsOnly(exit.cause)) return connection.close(CloseCode.Draining, "")
  const incident = randomUUID().slice(0, 8)
  return Effect.andThen(
    Effect.logError(`handler of ${connection.alpn} failed, incident ${incident}`, exit.cause),
    connection.close(CloseCode.HandlerFailed, incident)
  )
}
