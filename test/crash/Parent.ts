/**
 * The side of a program that its test speaks to: questions come over the channel of `fork`, each is answered once, and what
 * happens meanwhile is told as events.
 */
import { Cause, Effect } from "effect"

export interface Question {
  readonly id: number
  readonly what: string
  /** JSON or plain text, as the question has it. */
  readonly input: string
}

export type Told =
  | { readonly _tag: "Answer"; readonly id: number; readonly value: string }
  | { readonly _tag: "Failed"; readonly id: number; readonly why: string }
  | { readonly _tag: "Event"; readonly name: string; readonly value: string }

/** Sends to the test; a test that is gone hears nothing. */
const send = (told: Told) => process.send?.(told, undefined, undefined, () => undefined)

export const tell = (name: string, value: unknown): void => {
  send({ _tag: "Event", name, value: JSON.stringify(value ?? null) })
}

/** Answers questions until the test is gone. */
export const answerParent = <R>(
  answers: Readonly<Record<string, (input: string) => Effect.Effect<unknown, unknown, R>>>
): Effect.Effect<never, never, R> =>
  Effect.gen(function* () {
    const fork = Effect.runForkWith(yield* Effect.context<R>())
    process.on("disconnect", () => process.exit())
    process.on("message", ({ id, input, what }: Question) => {
      const answer = answers[what]
      if (answer === undefined) return send({ _tag: "Failed", id, why: `no such question: ${what}` })
      fork(
        Effect.matchCause(answer(input), {
          onSuccess: (value) => send({ _tag: "Answer", id, value: JSON.stringify(value ?? null) }),
          onFailure: (cause) => send({ _tag: "Failed", id, why: Cause.pretty(cause) })
        })
      )
    })
    tell("ready", null)
    return yield* Effect.never
  })
