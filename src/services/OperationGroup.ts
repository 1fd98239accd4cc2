/** Operations with their handlers that belong together: what a registry's layer is built from. */
import type { Implementation } from "./Operation.ts"

export interface OperationGroup<out R> {
  readonly implementations: ReadonlyArray<Implementation<R>>
}

type Needs<Implementations> = Implementations extends readonly []
  ? never
  : Implementations extends ReadonlyArray<Implementation<infer R>>
    ? R
    : never

export const OperationGroup = {
  make: <const Implementations extends ReadonlyArray<Implementation<unknown>>>(
    ...implementations: Implementations
  ): OperationGroup<Needs<Implementations>> => ({
    implementations: implementations as ReadonlyArray<Implementation<Needs<Implementations>>>
  })
} as const
