/**
 * The opened credentials that operations of this node may use, by name (VAULT-R47, VAULT-R48).
 *
 * Built once by the assembly and handed to the registrations of operations. It is never filled from what a peer sent, and it
 * can go nowhere: it has no schema, prints as `<capabilities>`, and `structuredClone` refuses it.
 */
import { Context, Effect, Layer, Redacted, Schema, type Scope } from "effect"

/** The bag does not hold this name, or not any more after `restrict`. */
export class CapabilityMissing extends Schema.TaggedError<CapabilityMissing>()("CapabilityMissing", {
  name: Schema.String
}) {
  override get message() {
    return `there is no credential ${JSON.stringify(this.name)} here`
  }
  get hint() {
    return "seal it with `alknet vault seal NAME` and start the node again"
  }
}

export interface CapabilityBag {
  /** In the order they were given. */
  readonly names: ReadonlyArray<string>
  /** Passes a copy of the secret to `f` and wipes the copy when `f` has ended, however it ended. */
  readonly use: <A, E, R>(
    name: string,
    f: (secret: Redacted.Redacted<Uint8Array>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | CapabilityMissing, R>
  /** A smaller bag. An unknown name is `CapabilityMissing`. */
  readonly restrict: (names: ReadonlyArray<string>) => Effect.Effect<CapabilityBag, CapabilityMissing>
}

export class Capabilities extends Context.Service<Capabilities, CapabilityBag>()("alknet/Capabilities") {
  /** A bag with copies of the secrets, which are wiped when the scope closes. */
  static readonly fromSecrets = (
    secrets: ReadonlyMap<string, Redacted.Redacted<Uint8Array>>
  ): Effect.Effect<CapabilityBag, never, Scope.Scope> =>
    Effect.map(
      Effect.acquireRelease(
        // Not `slice`: that of a Buffer shares the bytes, and wiping a copy would wipe the secret.
        Effect.sync(
          () => new Map([...secrets].map(([name, secret]) => [name, new Uint8Array(Redacted.value(secret))]))
        ),
        (owned) =>
          Effect.sync(() => {
            for (const bytes of owned.values()) bytes.fill(0)
          })
      ),
      (owned) => new Bag(owned)
    )

  /** The same as a layer. */
  static readonly layer = (secrets: ReadonlyMap<string, Redacted.Redacted<Uint8Array>>): Layer.Layer<Capabilities> =>
    Layer.effect(this, this.fromSecrets(secrets))

  /** Both bags as one, without copying a secret. Where both hold a name, the first one's counts. */
  static readonly join = (first: CapabilityBag, second: CapabilityBag): CapabilityBag => new Joined(first, second)

  /** Without anything. */
  static readonly none = (): CapabilityBag => new Bag(new Map())

  /** A node without credentials. */
  static readonly layerEmpty = this.layer(new Map())
}

/** What is shown of a bag, whoever looks. Its functions are own properties, and a function cannot be cloned. */
abstract class Opaque {
  toJSON(): string {
    return "<capabilities>"
  }

  toString(): string {
    return "<capabilities>"
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "<capabilities>"
  }
}

/** A class for its private field, which neither inspection nor serialisation reaches. */
class Bag extends Opaque implements CapabilityBag {
  readonly #secrets: ReadonlyMap<string, Uint8Array>
  readonly names: ReadonlyArray<string>

  constructor(secrets: ReadonlyMap<string, Uint8Array>) {
    super()
    this.#secrets = secrets
    this.names = Object.freeze([...secrets.keys()])
  }

  readonly use = <A, E, R>(
    name: string,
    f: (secret: Redacted.Redacted<Uint8Array>) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | CapabilityMissing, R> =>
    Effect.suspend((): Effect.Effect<A, E | CapabilityMissing, R> => {
      const secret = this.#secrets.get(name)
      if (secret === undefined) return Effect.fail(new CapabilityMissing({ name }))
      return Effect.acquireUseRelease(
        Effect.sync(() => secret.slice()),
        (copy) => f(Redacted.make(copy)),
        (copy) => Effect.sync(() => void copy.fill(0))
      )
    })

  readonly restrict: CapabilityBag["restrict"] = (names) =>
    Effect.suspend(() => {
      const kept = new Map<string, Uint8Array>()
      for (const name of names) {
        const secret = this.#secrets.get(name)
        if (secret === undefined) return Effect.fail(new CapabilityMissing({ name }))
        kept.set(name, secret)
      }
      return Effect.succeed(new Bag(kept))
    })
}

/** Asks the first bag that has the name. */
class Joined extends Opaque implements CapabilityBag {
  readonly #first: CapabilityBag
  readonly #second: CapabilityBag
  readonly names: ReadonlyArray<string>

  constructor(first: CapabilityBag, second: CapabilityBag) {
    super()
    this.#first = first
    this.#second = second
    this.names = Object.freeze([...new Set([...first.names, ...second.names])])
  }

  readonly use: CapabilityBag["use"] = (name, f) =>
    (this.#first.names.includes(name) ? this.#first : this.#second).use(name, f)

  readonly restrict: CapabilityBag["restrict"] = (names) =>
    Effect.gen({ self: this }, function* () {
      const isOfFirst = (name: string) => this.#first.names.includes(name)
      const first = yield* this.#first.restrict(names.filter(isOfFirst))
      return new Joined(first, yield* this.#second.restrict(names.filter((name) => !isOfFirst(name))))
    })
}
