/**
 * Happy Eyeballs (RFC 8305 section 5): attempts start one after the other, each as soon as the one before it failed or
 * has had its head start, and the first success wins.
 *
 * Each attempt runs in a scope of its own. The winner's closes with the caller's scope; the others' close at once.
 */
import { Cause, type Duration, Effect, Exit, Latch, Option, Queue, Scope } from "effect"

/** RFC 8305 section 8: the recommended delay between two attempts. */
export const HEAD_START: Duration.Input = "250 millis"

export interface StaggerOptions<E> {
  readonly headStart?: Duration.Input
  /** An error that no other attempt can mend: it ends the race. */
  readonly isFinal?: (error: E) => boolean
  /** Which of two errors says more about what is wrong. */
  readonly moreTelling: (a: E, b: E) => E
}

export const stagger = <A, E>(
  attempts: readonly [Effect.Effect<A, E, Scope.Scope>, ...Array<Effect.Effect<A, E, Scope.Scope>>],
  options: StaggerOptions<E>
): Effect.Effect<A, E, Scope.Scope> =>
  attempts.length === 1 ? attempts[0] : Effect.flatMap(Effect.scope, (parent) => race(attempts, options, parent))

interface Ended<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly scope: Scope.Closeable
}

const race = <A, E>(
  attempts: ReadonlyArray<Effect.Effect<A, E, Scope.Scope>>,
  options: StaggerOptions<E>,
  parent: Scope.Scope
) =>
  Effect.gen(function* () {
    const results = yield* Queue.unbounded<Ended<A, E>>()
    const scopes: Array<Scope.Closeable> = []
    let winner: Scope.Closeable | undefined

    const startAll = Effect.forEach(
      attempts,
      (attempt) =>
        Effect.suspend(() => {
          const scope = Scope.forkUnsafe(parent)
          const failed = Latch.makeUnsafe(false)
          scopes.push(scope)
          return Scope.provide(attempt, scope).pipe(
            Effect.onExit((exit) => {
              if (Exit.isFailure(exit)) failed.openUnsafe()
              return Queue.offer(results, { exit, scope })
            }),
            Effect.forkIn(scope, { startImmediately: true }),
            Effect.andThen(Effect.timeoutOption(failed.await, options.headStart ?? HEAD_START))
          )
        }),
      { discard: true }
    )
    const firstSuccess = Effect.gen(function* () {
      let telling: { readonly error: E } | undefined
      for (let ended = 0; ended < attempts.length; ended++) {
        const { exit, scope } = yield* Queue.take(results)
        if (Exit.isSuccess(exit)) {
          winner = scope
          return exit.value
        }
        const failure = Cause.findErrorOption(exit.cause)
        if (Option.isNone(failure)) return yield* Effect.failCause(exit.cause)
        const error = failure.value
        if (options.isFinal?.(error) === true) return yield* Effect.fail(error)
        telling = { error: telling === undefined ? error : options.moreTelling(telling.error, error) }
      }
      return yield* Effect.fail(telling!.error)
    })
    return yield* Effect.raceFirst(firstSuccess, Effect.andThen(startAll, Effect.never)).pipe(
      Effect.ensuring(
        Effect.suspend(() =>
          Effect.forEach(scopes, (scope) => (scope === winner ? Effect.void : Scope.close(scope, Exit.void)), {
            discard: true
          })
        )
      )
    )
  })
