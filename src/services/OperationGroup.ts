/** Operations with their handlers that belong together: what a registry's layer is built from. */
import type { Implementation } from "./Operation.ts"
import type { OperationContext } from "./OperationContext.ts"

/** `R` is what the handlers need beside `OperationContext`, which every request brings. */
export interface OperationGroup<out R> {
  readonly implementations: ReadonlyArray<Implementation<R | OperationContext>>
}

type Needs<Implementations> = Implementations extends readonly []
  ? never
  : Implementations extends ReadonlyArray<Implementation<infer R>>
    ? Exclude<R, OperationContext>
    : never

export const OperationGroup = {
  make: <const Implementations extends ReadonlyArray<Implementation<unknown>>>(
    ...implementations: Implementations
  ): OperationGroup<Needs<Implementations>> => ({
    implementations: implementations as ReadonlyArray<Implementation<Needs<Implementations> | OperationContext>>
  })
} as const
