/**
 * Where sealed credentials are kept: text in, the same text out. It never opens a seal and needs no key (VAULT-R46).
 *
 * Layers: `SqliteCredentialStore` (the default) and `MemoryCredentialStore`, in src/layers/store. A credential that is not
 * there is "none", not an error.
 */
import { Context, type Effect, type Option, Schema } from "effect"

/** What a credential is for (`credential`, ...) and what it is called. */
export interface CredentialId {
  readonly purpose: string
  readonly name: string
}

/** Longest text that is kept, in bytes of UTF-8. */
export const CREDENTIAL_MAX_BYTES = 128 * 1024

/** Most ids that one `list` gives. */
export const CREDENTIAL_PAGE = 1000

export class CredentialStoreError extends Schema.TaggedError<CredentialStoreError>()("CredentialStoreError", {
  /**
   * `Conflict`: the kept text is not the expected one; nothing was changed. `TooLarge`: over `CREDENTIAL_MAX_BYTES`.
   * `Io`: the store could not be used.
   */
  reason: Schema.Literals(["Conflict", "TooLarge", "Io"]),
  /** What it is about; empty where it is about the whole store. */
  purpose: Schema.String,
  name: Schema.String
}) {
  override get message() {
    const causes = { Conflict: "was changed by somebody else", TooLarge: "is too large", Io: "could not be reached" }
    return `the sealed credential ${this.purpose}/${this.name} ${causes[this.reason]}`
  }
  get hint() {
    const cures = {
      Conflict: "read it again and repeat the change",
      TooLarge: "a sealed credential has at most 128 KiB of text",
      Io: "look at the state file of this node, its rights and the disk space"
    }
    return cures[this.reason]
  }
}

export class CredentialStore extends Context.Service<
  CredentialStore,
  {
    readonly get: (id: CredentialId) => Effect.Effect<Option.Option<string>, CredentialStoreError>
    /**
     * Compare-and-set: keeps `text` only where the kept text is exactly `expected` (none: nothing is kept yet), else fails
     * with `Conflict`. One atomic step, also between processes.
     */
    readonly put: (
      id: CredentialId,
      text: string,
      expected: Option.Option<string>
    ) => Effect.Effect<void, CredentialStoreError>
    /** Whether there was one. */
    readonly delete: (id: CredentialId) => Effect.Effect<boolean, CredentialStoreError>
    /** By purpose, then name, each in order of code points; at most `CREDENTIAL_PAGE`. Go on with `after` = the last one. */
    readonly list: (options?: {
      readonly purpose?: string
      readonly after?: CredentialId
    }) => Effect.Effect<ReadonlyArray<CredentialId>, CredentialStoreError>
  }
>()("alknet/CredentialStore") {}
