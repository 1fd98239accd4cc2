/**
 * A process that writes a vault file, for the tests in which several do or one is killed. Tells its parent how far it is.
 */
import { Effect, Result } from "effect"
import { restoreAbandon, secret, vaultOf, watched } from "./fixture.ts"

const [task, path = "", first = "", second = ""] = process.argv.slice(2)

const create = Effect.gen(function* () {
  const result = yield* Effect.result(restoreAbandon(yield* vaultOf(watched(path).parts)))
  process.send?.(Result.isSuccess(result) ? "made" : result.failure._tag)
})

const changeForEver = Effect.gen(function* () {
  const vault = yield* vaultOf(watched(path).parts)
  const change = (current: string, next: string) =>
    vault.changePassphrase({ current: secret(current), next: secret(next) })
  // After a kill in the round before the file may have either.
  yield* Effect.ignore(change(second, first))
  process.send?.("begun")
  yield* Effect.forever(Effect.andThen(change(first, second), change(second, first)))
})

const outcome = await Effect.runPromiseExit(Effect.scoped(task === "create" ? create : changeForEver))
process.exitCode = outcome._tag === "Success" ? 0 : 1
process.disconnect?.()
