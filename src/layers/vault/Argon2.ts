/**
 * Argon2id (RFC 9106, version 0x13, no secret, no associated data, 32 bytes): the key that seals a vault file (VAULT-R19).
 *
 * Never on the thread of the event loop. The prebuilt `@node-rs/argon2` runs on the thread pool of Node; where it is not
 * installed, `hash-wasm` runs in a worker thread of its own, four times slower. Either is loaded when it is first needed.
 */
import { createRequire } from "node:module"
import { Worker } from "node:worker_threads"
import { Effect } from "effect"
import { VaultIo } from "../../protocol/vault/VaultError.ts"
import type { KdfCost } from "../../protocol/vault/VaultFile.ts"

/**
 * The 32-byte key of a passphrase, which belongs to the caller. The passphrase is only read. When interrupted, a key that
 * comes late is wiped. Fails with step `derive` where the memory cannot be had.
 */
export type DeriveKey = (passphrase: Uint8Array, salt: Uint8Array, cost: KdfCost) => Effect.Effect<Uint8Array, VaultIo>

const KEY_BYTES = 32

/** By whatever is installed. */
export const deriveKey: DeriveKey = (passphrase, salt, cost) =>
  Effect.catchIf(
    deriveKeyNative(passphrase, salt, cost),
    (error) => error.code === NOT_INSTALLED,
    () => deriveKeyInWorker(passphrase, salt, cost)
  )

/** By the prebuilt native library. Fails with `NOT_INSTALLED` where it cannot be loaded. */
export const deriveKeyNative: DeriveKey = (passphrase, salt, cost) =>
  Effect.flatMap(
    Effect.tryPromise({ try: () => import("@node-rs/argon2"), catch: () => failed(NOT_INSTALLED) }),
    ({ hashRaw }) =>
      Effect.callback<Uint8Array, VaultIo>((resume) => {
        let wanted = true
        hashRaw(passphrase, {
          algorithm: ALGORITHM_ARGON2ID,
          version: VERSION_0X13,
          memoryCost: cost.m,
          timeCost: cost.t,
          parallelism: cost.p,
          outputLen: KEY_BYTES,
          salt
        }).then(
          (output) => {
            const key = new Uint8Array(output)
            output.fill(0)
            if (wanted) resume(Effect.succeed(key))
            else key.fill(0)
          },
          () => resume(Effect.fail(failed("ENOMEM")))
        )
        return Effect.sync(() => {
          wanted = false
        })
      })
  )

/** By WebAssembly in a worker thread, which is ended when interrupted. */
export const deriveKeyInWorker: DeriveKey = (passphrase, salt, cost) =>
  Effect.callback<Uint8Array, VaultIo>((resume) => {
    const worker = new Worker(WORKER, {
      eval: true,
      env: {},
      execArgv: [],
      workerData: {
        module: createRequire(import.meta.url).resolve("hash-wasm"),
        options: {
          password: passphrase,
          salt,
          memorySize: cost.m,
          iterations: cost.t,
          parallelism: cost.p,
          hashLength: KEY_BYTES,
          outputType: "binary"
        }
      }
    })
    worker.once("message", (key: Uint8Array) => resume(Effect.succeed(key)))
    worker.once("error", () => resume(Effect.fail(failed("ENOMEM"))))
    worker.once("exit", () => resume(Effect.fail(failed("ENOMEM"))))
    return Effect.promise(() => worker.terminate())
  })

export const NOT_INSTALLED = "ENOTINSTALLED"

/** The numbers of the native library: its const enums cannot be imported where types are only stripped. */
const ALGORITHM_ARGON2ID = 2
const VERSION_0X13 = 1

const failed = (code: string) => new VaultIo({ step: "derive", code })

/**
 * Text, not a file of its own: the path of a second file would not survive bundling. The library is found from this module,
 * because a worker made of text would look for it in the current folder.
 */
const WORKER = `
const { parentPort, workerData } = require("node:worker_threads")
require(workerData.module).argon2id(workerData.options).then((key) => parentPort.postMessage(key))
`
