/**
 * Items of a stream one by one through a function that is finished at once nearly always (a Schema), array for array: what
 * came together goes on together, without a fiber's turn for each.
 *
 * The first that fails ends the stream, after those before it.
 */
import { Array as Arr, Effect, Exit, type Pull, Stream } from "effect"

type Items<A, E> = Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E>

export const mapItems = <A, E, B, E2>(
  stream: Stream.Stream<A, E>,
  convert: (item: A) => Effect.Effect<B, E2>
): Stream.Stream<B, E | E2> =>
  Stream.transformPull(stream, (pull) => {
    let broken: Effect.Effect<never, E2> | undefined
    const all = (items: Arr.NonEmptyReadonlyArray<A>, converted: Array<B> = []): Items<B, E2> => {
      while (converted.length < items.length) {
        const next = convert(items[converted.length]!)
        if (!Exit.isExit(next)) return Effect.flatMap(Effect.exit(next), (exit) => add(exit, items, converted))
        const exit = next as Exit.Exit<B, E2>
        if (Exit.isFailure(exit)) return add(exit, items, converted)
        converted.push(exit.value)
      }
      return Effect.succeed(converted as Arr.NonEmptyArray<B>)
    }
    const add = (exit: Exit.Exit<B, E2>, items: Arr.NonEmptyReadonlyArray<A>, converted: Array<B>): Items<B, E2> => {
      if (Exit.isSuccess(exit)) {
        converted.push(exit.value)
        return all(items, converted)
      }
      broken = Effect.failCause(exit.cause)
      return Arr.isArrayNonEmpty(converted) ? Effect.succeed(converted) : broken
    }
    return Effect.succeed(Effect.suspend((): Items<B, E | E2> => broken ?? Effect.flatMap(pull, (items) => all(items))))
  })
