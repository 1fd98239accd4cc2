/**
 * What was imported over one connection, and the way on which it is called (call.md section 13).
 *
 * The table changes all or nothing and is emptied for good when the connection ends, so envs that were handed out earlier
 * see both at once.
 */
import { Effect } from "effect"
import { AdapterError, type ImportOverlay } from "../../services/ImportOverlay.ts"
import type { OperationRegistry, Registration } from "../../services/OperationRegistry.ts"
import type { Forward } from "./Forwarder.ts"

export class ConnectionOverlay implements ImportOverlay {
  /** The curated operations of this node, which an import shadows only where that is allowed. */
  readonly registry: Pick<OperationRegistry["Service"], "get">
  /** Requests to the other node on behalf of somebody else. */
  readonly forward: Forward
  readonly #table = new Map<string, Registration>()
  #isOver = false

  constructor(registry: Pick<OperationRegistry["Service"], "get">, forward: Forward) {
    this.registry = registry
    this.forward = forward
  }

  readonly get = (name: string): Registration | undefined => this.#table.get(name)

  readonly names = (): ReadonlyArray<string> => [...this.#table.keys()].sort()

  readonly install = (registrations: ReadonlyArray<Registration>): Effect.Effect<void, AdapterError> =>
    Effect.suspend(() => {
      if (this.#isOver) {
        return new AdapterError({ reason: "Transport", operation: "", hint: "the connection has ended" })
      }
      const added = new Map<string, Registration>()
      for (const registration of registrations) {
        const { name } = registration.spec
        if (added.has(name) || this.#table.has(name)) return this.collision(name)
        added.set(name, registration)
      }
      for (const [name, registration] of added) this.#table.set(name, registration)
      return Effect.void
    })

  collision(name: string): AdapterError {
    const hint = `two operations of the peer would both be ${name} here; import with a prefix or a filter`
    return new AdapterError({ reason: "SamePeerCollision", operation: name, hint })
  }

  /** The connection is over: nothing is found here any more. */
  end(): void {
    this.#isOver = true
    this.#table.clear()
  }
}
