/**
 * Several transports as one: the first is preferred, the others are what is left where it does not get through. A node
 * combines QUIC and TLS: both listen on the same port number, and a dial gives QUIC a head start of 250 ms
 * (transport.md section 3).
 *
 * An answer of the other side is final whichever transport it came over: a wrong key, a refused ALPN and a bad
 * certificate are not tried again over the next one. Where TCP says that nobody listens, the preferred transport has one
 * second left. A transport that this machine does not support is left out with one
 * warning, as long as another remains.
 */
import { type Cause, Effect, Exit, Layer, Queue, Scope } from "effect"
import {
  type Connection,
  ConnectionClosed,
  type DialError,
  type Listener,
  type ListenOptions,
  Transport,
  TransportError
} from "../../services/Transport.ts"
import { stagger } from "./stagger.ts"

type One = Transport["Service"]

/** How often another free port is tried where the one that the first transport got is taken for the second. */
const PORT_ATTEMPTS = 16

/** The transports in order of preference. */
export const layer = <E, R>(
  first: Layer.Layer<Transport, E, R>,
  second: Layer.Layer<Transport, E, R>
): Layer.Layer<Transport, E, R> =>
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const build = (layer: Layer.Layer<Transport, E, R>) =>
        Effect.flatMap(Layer.buildWithScope(Layer.fresh(layer), scope), (context) =>
          Effect.provide(Effect.service(Transport), context)
        )
      return combine(yield* build(first), yield* build(second))
    })
  )

const combine = (preferred: One, fallback: One): One =>
  Transport.of({
    name: preferred.name,
    listen: (options) =>
      inScopeOfItsOwn(listenOn(preferred, fallback, options)).pipe(
        Effect.retry({
          times: PORT_ATTEMPTS,
          while: (error) => options.address.port === 0 && error.reason === "AddressInUse"
        })
      ),
    dial: (options) =>
      stagger([preferred.dial(options), Effect.catchIf(fallback.dial(options), isRefused, failLater)], {
        isFinal: (error) => FINAL.has(error.reason._tag) || isRefused(error),
        moreTelling: moreTellingDialError
      })
  })

/** The machine is there and says that nobody listens. UDP would stay silent until its handshake times out. */
const isRefused = ({ reason }: DialError): boolean => reason._tag === "Unreachable" && reason.code === "ECONNREFUSED"

/** What the preferred transport has left then: a firewall may refuse TCP alone. */
const failLater = (error: DialError) => Effect.andThen(Effect.sleep("1 second"), Effect.fail(error))

const FINAL: ReadonlySet<DialError["reason"]["_tag"]> = new Set(["PeerMismatch", "Refused", "BadCertificate"])

/** From what says least to what says most. */
const TELLING: ReadonlyArray<DialError["reason"]["_tag"]> = [
  "Unsupported",
  "UnknownPeer",
  "NoAddress",
  "TimedOut",
  "Unreachable",
  "BadCertificate",
  "Refused",
  "PeerMismatch"
]

export const moreTellingDialError = (a: DialError, b: DialError): DialError =>
  TELLING.indexOf(b.reason._tag) > TELLING.indexOf(a.reason._tag) ? b : a

const listenOn = (
  preferred: One,
  fallback: One,
  options: ListenOptions
): Effect.Effect<Listener, TransportError, Scope.Scope> =>
  Effect.gen(function* () {
    const accepted = yield* Queue.bounded<Connection, Cause.Done>(64)
    const listeners: Array<Listener> = []
    let address = options.address
    for (const transport of [fallback, preferred]) {
      const listener = yield* transport.listen({ ...options, address }).pipe(
        Effect.catchIf(
          (error) => error.reason === "Unsupported",
          (error) => Effect.as(Effect.logWarning(`listening without ${transport.name}: ${error.hint}`), undefined)
        )
      )
      if (listener === undefined) continue
      address = listener.address
      listeners.push(listener)
      yield* Effect.flatMap(listener.accept, (connection) => Queue.offer(accepted, connection)).pipe(
        Effect.forever,
        Effect.catch(() => Effect.void),
        Effect.forkScoped
      )
    }
    if (listeners.length === 0) {
      return yield* new TransportError({
        reason: "Unsupported",
        address: "",
        hint: "no transport works on this machine"
      })
    }
    yield* Effect.addFinalizer(() => Queue.end(accepted))
    const ended = new ConnectionClosed({ by: "local", kind: "app", code: 0, reason: "not listening any more" })
    return { address, accept: Effect.mapError(Queue.take(accepted), () => ended) }
  })

/** What a failed attempt has bound is released before the next one. */
const inScopeOfItsOwn = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = Scope.forkUnsafe(yield* Effect.scope)
    return yield* Effect.onError(Scope.provide(effect, scope), (cause) => Scope.close(scope, Exit.failCause(cause)))
  })
