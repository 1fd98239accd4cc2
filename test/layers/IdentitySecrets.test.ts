import { inspect } from "node:util"
import { assert, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Redacted, References, type Scope, Tracer } from "effect"
import { issueApiKey } from "../../src/layers/ApiKeyIssue.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { JOIN_ALPN } from "../../src/protocol/identity/JoinMessage.ts"
import { hashToken } from "../../src/protocol/identity/Token.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"
import { makeJoinNode } from "./JoinFixtures.ts"
import { newNodeId, peerOf } from "./store/PeerFixtures.ts"

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

/** Everything that logs, spans and errors of a program would show; what a span gives back is exported by no tracer. */
const observe = () => {
  const seen: Array<string> = []
  const show = (value: unknown) => seen.push(inspect(value, { depth: 20, maxStringLength: null }))
  const logger = Logger.make(({ cause, message }) => {
    show(message)
    show(Cause.pretty(cause))
  })
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      const end = span.end.bind(span)
      span.end = (at, exit) => {
        show([span.name, [...span.attributes], span.events, Exit.isFailure(exit) ? exit.cause : "ok"])
        end(at, exit)
      }
      return span
    }
  })
  const layer = Layer.mergeAll(
    Logger.layer([logger]),
    Layer.succeed(References.MinimumLogLevel, "All"),
    Layer.succeed(Tracer.Tracer, tracer)
  )
  return { seen, show, layer }
}

it.effect("ID-042 no log, span or error at any level holds a token, the hash of one or a ticket", () => {
  const { layer, seen, show } = observe()
  return run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode({ host: "10.0.0.1", label: "desk" })
      const laptop = yield* makeJoinNode({ host: "10.0.0.2" })
      const other = yield* makeJoinNode({ host: "10.0.0.3" })
      const keep = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.tap(Effect.exit(effect), (exit) => Effect.sync(() => show(Exit.isFailure(exit) ? exit.cause : "ok")))

      const invite = yield* desk.inviteWith()
      yield* keep(laptop.joinWith({ ticket: invite.ticket }))
      yield* keep(other.joinWith({ ticket: invite.ticket }))
      yield* keep(other.joinWith({ ticket: Redacted.make(`${Redacted.value(invite.ticket)}q`) }))
      const withDesk = <A, E>(effect: Effect.Effect<A, E, PeerStore>) =>
        Effect.provideService(effect, PeerStore, desk.store)
      const { token } = yield* withDesk(issueApiKey({ scopes: ["call:*"] }))
      const access = yield* desk.accessWith()
      const auth = { identity: undefined, alpn: JOIN_ALPN, remoteAddress: undefined, peerKey: laptop.local.nodeId }
      const wrong = `alk_${"s3cret".repeat(5)}`
      for (const text of [Redacted.value(token), Redacted.value(access.ticket), wrong, `${wrong}\n`]) {
        yield* keep(desk.identity.resolveRequest(auth, Redacted.make(text)))
        yield* keep(other.identity.resolveRequest(auth, Redacted.make(text)))
      }
      const hash = hashToken(wrong)
      yield* keep(desk.store.add(peerOf("a", newNodeId(), { authTokenHash: hash })))
      yield* keep(desk.store.add(peerOf("b", newNodeId(), { authTokenHash: hash })))

      const everything = [...seen, ...desk.audit, ...laptop.audit, ...other.audit].join("\n")
      assert.isAbove(everything.length, 1000)
      for (const secret of [
        Redacted.value(invite.ticket).slice(0, 60),
        Redacted.value(access.ticket).slice(-60),
        Redacted.value(token).slice(8),
        "s3crets3cret",
        hash.slice(7),
        hashToken(Redacted.value(token)).slice(7)
      ]) {
        assert.notInclude(everything, secret)
      }
    })
  ).pipe(Effect.provide(layer))
})
