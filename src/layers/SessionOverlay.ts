/**
 * Makes the operations of one session out of groups, for a `SessionSource` to hand out (call.md section 11).
 *
 * They are judged and run like those of the registry, and are always internal: a declaration that says external is not
 * believed, because nobody reaches a session from a wire.
 */
import { Effect } from "effect"
import type { OperationContext } from "../services/OperationContext.ts"
import type { OperationGroup } from "../services/OperationGroup.ts"
import { type Registration, RegistryError } from "../services/OperationRegistry.ts"
import type { SessionOverlay } from "../services/SessionSource.ts"
import { register } from "./OperationRegistry.ts"

/** An overlay of these operations. Their handlers live in the environment of this effect. */
export const make = <R>(
  ...groups: ReadonlyArray<OperationGroup<R>>
): Effect.Effect<SessionOverlay, RegistryError, Exclude<R, OperationContext>> =>
  Effect.gen(function* () {
    const environment = yield* Effect.context<Exclude<R, OperationContext>>()
    const table = new Map<string, Registration>()
    for (const { handler, operation, options } of groups.flatMap((group) => group.implementations)) {
      const implementation = {
        operation: { ...operation, visibility: "internal" as const },
        handler,
        options: { ...options, provenance: "Session" as const }
      }
      const registration = yield* register(implementation, environment, false)
      if (table.has(operation.name)) {
        const hint = "another operation of the session has this name"
        return yield* new RegistryError({ reason: "DuplicateName", operation: operation.name, hint })
      }
      table.set(operation.name, registration)
    }
    return { get: (name) => table.get(name) }
  })
