/**
 * A registry of operations that is exchanged as a whole while the node runs: what `alknet serve-ops` reloads a module with.
 *
 * CALL-R86 holds for each registry: it is built once and never changes. It is the assembly that puts another one in its
 * place, at once: a request is served by the registry that admitted it, and what is listed is of that same registry.
 * Connections stay as they are. An exchange whose registry cannot be built changes nothing.
 *
 * What handlers need is built with their registry and lives as long as their requests: it is closed when the last of them
 * has ended. Queries and mutations end by their deadline; a subscription that goes on for longer than `endWithin` fails.
 */
import { Context, Deferred, Duration, Effect, Exit, Layer, Option, Scope, Semaphore, Stream } from "effect"
import { type CallError, internal } from "../protocol/call/CallError.ts"
import { OperationRegistry, type Registration } from "../services/OperationRegistry.ts"
import { goOn } from "./call/Eager.ts"

export interface Options {
  /** How long the subscriptions of a registry may go on after it was exchanged. Default 60 s. */
  readonly endWithin?: Duration.Input
}

export interface ReloadingRegistry<in Version, in Own, out E, out R> {
  /** The registry of a node; begins with the first version. One node takes one. */
  readonly layer: (own: Own) => Layer.Layer<OperationRegistry, E, R>
  /** Builds the registry of this version and puts it in the place of the current one. Waits until there is a first one. */
  readonly exchange: (version: Version) => Effect.Effect<void, E>
}

/** A request that was admitted just before the exchange has its handler running after this time. */
const SETTLE_WITHIN = Duration.seconds(1)

/** What handlers may take to clean up after their subscription was ended. */
const CLEAN_UP_WITHIN = Duration.seconds(2)

/** `build` makes the registry of a version, such as what a module exports now; `own` is what every version has. */
export const make = <Version, Own, E, R>(
  first: Version,
  build: (version: Version, own: Own) => Layer.Layer<OperationRegistry, E, R>,
  options: Options = {}
): Effect.Effect<ReloadingRegistry<Version, Own, E, R>> =>
  Effect.sync(() => {
    const endWithin = options.endWithin ?? "60 seconds"
    const started = Deferred.makeUnsafe<(version: Version) => Effect.Effect<void, E>>()
    const layer = (own: Own) =>
      Layer.effect(
        OperationRegistry,
        Effect.gen(function* () {
          const scope = yield* Effect.scope
          const environment = yield* Effect.context<R>()
          const one = yield* Semaphore.make(1)
          const open = (version: Version) => Effect.provideContext(openEdition(build(version, own), scope), environment)
          let current = yield* open(first)
          const exchange = (version: Version): Effect.Effect<void, E> =>
            one.withPermit(
              Effect.gen(function* () {
                const next = yield* open(version)
                const before = current
                current = next
                yield* Effect.forkIn(before.retire(endWithin), scope)
              })
            )
          yield* Deferred.succeed(started, exchange)
          return OperationRegistry.of({
            get: (name) => current.registry.get(name),
            admit: (...question) => current.registry.admit(...question),
            visible: (view) => current.registry.visible(view)
          })
        })
      )
    return { layer, exchange: (version) => Effect.flatMap(Deferred.await(started), (exchange) => exchange(version)) }
  })

/** One registry with the scope of what its handlers need. */
interface Edition {
  readonly registry: OperationRegistry["Service"]
  /** Closes the scope when its requests have ended. */
  readonly retire: (endWithin: Duration.Input) => Effect.Effect<void>
}

const openEdition = <E, R>(layer: Layer.Layer<OperationRegistry, E, R>, parent: Scope.Scope) =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(parent)
    // Fresh: what two editions have in common is built for each, because each is closed by itself.
    const context = yield* Layer.build(Layer.fresh(layer)).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    return track(Context.get(context, OperationRegistry), scope)
  })

const track = (registry: OperationRegistry["Service"], scope: Scope.Closeable): Edition => {
  const requests = new Requests()
  const tracked = new Map<Registration, Registration>()
  const trackedOf = (registration: Registration): Registration => {
    const known = tracked.get(registration)
    if (known !== undefined) return known
    const made = requests.tracking(registration)
    tracked.set(registration, made)
    return made
  }
  return {
    registry: OperationRegistry.of({
      get: (name) => {
        const registration = registry.get(name)
        return registration === undefined ? undefined : trackedOf(registration)
      },
      admit: (...question) =>
        goOn(registry.admit(...question), (exit) =>
          Exit.isSuccess(exit) && exit.value._tag === "Admitted"
            ? Effect.succeed({ ...exit.value, registration: trackedOf(exit.value.registration) })
            : exit
        ),
      visible: (view) => registry.visible(view)
    }),
    retire: (endWithin) =>
      Effect.gen(function* () {
        yield* Effect.sleep(SETTLE_WITHIN)
        const ended = yield* Effect.timeoutOption(requests.idle, endWithin)
        if (Option.isNone(ended)) {
          yield* Effect.logWarning("requests to operations that were exchanged are ended", { count: requests.count })
          yield* requests.end
          yield* Effect.timeoutOption(requests.idle, CLEAN_UP_WITHIN)
        }
        yield* Scope.close(scope, Exit.void)
      })
  }
}

/** The requests that are being served by one registry. */
class Requests {
  count = 0
  readonly #ended = Deferred.makeUnsafe<never, CallError>()
  #idle: Deferred.Deferred<void> | undefined

  readonly #begin = Effect.sync(() => {
    this.count++
  })

  readonly #finish = Effect.sync(() => {
    this.count--
    if (this.count === 0 && this.#idle !== undefined) Deferred.doneUnsafe(this.#idle, Effect.void)
  })

  /** Completes when there is none. */
  readonly idle: Effect.Effect<void> = Effect.suspend(() => {
    if (this.count === 0) return Effect.void
    this.#idle = Deferred.makeUnsafe<void>()
    return Deferred.await(this.#idle)
  })

  /** Fails every subscription. */
  readonly end: Effect.Effect<void> = Effect.asVoid(
    Deferred.fail(this.#ended, internal("the operation was exchanged for another one"))
  )

  /** The same registration; what it runs is counted. All else is read through, the secrets only when they are asked for. */
  tracking(registration: Registration): Registration {
    const counted: Pick<Registration, "run" | "stream"> = {
      run: (input, context) => {
        const effect = registration.run(input, context)
        return Exit.isExit(effect)
          ? effect
          : Effect.acquireUseRelease(
              this.#begin,
              () => effect,
              () => this.#finish
            )
      },
      stream: (input, context) =>
        // Pulled only when the consumer asks: nothing may be read ahead of it.
        Stream.transformPull(registration.stream(input, context), (pull, scope) =>
          Effect.uninterruptible(Effect.andThen(this.#begin, Scope.addFinalizer(scope, this.#finish))).pipe(
            Effect.as(Effect.raceFirst(pull, Deferred.await(this.#ended)))
          )
        )
    }
    return Object.setPrototypeOf(counted, registration)
  }
}
