/**
 * Going on with an effect that is often finished already: a look-up in memory, a synchronous Schema. Then nothing has to be
 * run, no fiber, no scheduler; this is what makes an ordinary call cost microseconds.
 */
import { Effect, Exit } from "effect"

/** Continues with the exit of an effect, at once where it is one. */
export const goOn = <A, E, B, E2>(
  effect: Effect.Effect<A, E>,
  next: (exit: Exit.Exit<A, E>) => Effect.Effect<B, E2>
): Effect.Effect<B, E2> => {
  if (!Exit.isExit(effect)) return Effect.flatMap(Effect.exit(effect), next)
  return next(effect as Exit.Exit<A, E>)
}

/** Calls a function that makes an effect; what it throws is a defect of that effect. */
export const attempt = <A, E>(make: () => Effect.Effect<A, E>): Effect.Effect<A, E> => {
  try {
    return make()
  } catch (defect) {
    return Effect.die(defect)
  }
}
