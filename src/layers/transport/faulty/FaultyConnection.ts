/**
 * A connection on which things go wrong: every operation is the one of the connection inside, before or after which the
 * dice are thrown. Nothing is buffered here: a delayed write completes when it is delivered, a held-back message waits for
 * the next one.
 */
import { Deferred, Effect, Exit, Option } from "effect"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import {
  type BiStream,
  type CloseReason,
  type Connection,
  ConnectionClosed,
  type Datagrams
} from "../../../services/Transport.ts"
import type { Dice, Faults } from "./Faults.ts"

/** How a sudden death looks on the connection inside, where the close text crosses; the other side turns it back. */
const DEATH = "faulty: sudden death"

/** What the network does to the path of a connection. */
export interface Path {
  /** Completes while the two nodes can reach each other; waits while they are parted. */
  readonly passable: Effect.Effect<void>
  readonly isPassable: () => boolean
}

export class FaultyConnection {
  readonly connection: Connection
  readonly nodes: ReadonlyArray<NodeId>
  readonly #inner: Connection
  readonly #faults: Faults
  readonly #dice: Dice
  readonly #path: Path
  readonly #closed = Deferred.makeUnsafe<CloseReason>()
  #dead: ConnectionClosed | undefined = undefined

  constructor(inner: Connection, nodes: ReadonlyArray<NodeId>, faults: Faults, dice: Dice, path: Path) {
    this.nodes = nodes
    this.#inner = inner
    this.#faults = faults
    this.#dice = dice
    this.#path = path
    this.connection = {
      id: inner.id,
      transport: inner.transport,
      alpn: inner.alpn,
      side: inner.side,
      peer: inner.peer,
      remoteAddress: inner.remoteAddress,
      multiStream: inner.multiStream,
      open: this.#guard(Effect.map(inner.open, (stream) => this.#stream(stream))),
      accept: this.#guard(Effect.map(Effect.tap(inner.accept, path.passable), (stream) => this.#stream(stream))),
      datagrams: Option.map(inner.datagrams, (datagrams) => this.#datagrams(datagrams)),
      close: inner.close,
      closed: Effect.raceFirst(
        Deferred.await(this.#closed),
        Effect.map(inner.closed, (reason) => this.#explain(reason))
      ),
      stats: inner.stats
    }
  }

  /** Ends the connection without a word of either side. */
  die(kind: "lost" | "idle"): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#dead !== undefined) return Effect.void
      const reason: CloseReason = { by: "transport", kind, code: kind === "idle" ? CloseCode.Idle : 0, reason: "" }
      this.#dead = ConnectionClosed.of(reason)
      Deferred.doneUnsafe(this.#closed, Exit.succeed(reason))
      return this.#inner.close(CloseCode.HandlerFailed, `${DEATH} ${kind}`)
    })
  }

  /** Turns the close by which `die` shows on the connection inside back into what it stands for. */
  #explain(reason: CloseReason): CloseReason {
    if (this.#dead !== undefined) return this.#dead
    if (reason.by !== "peer" || !reason.reason.startsWith(DEATH)) return reason
    const kind = reason.reason.endsWith("idle") ? "idle" : "lost"
    return { by: "transport", kind, code: kind === "idle" ? CloseCode.Idle : 0, reason: "" }
  }

  #guard<A, E>(effect: Effect.Effect<A, E | ConnectionClosed>): Effect.Effect<A, E | ConnectionClosed> {
    const explained = Effect.mapError(effect, (error) =>
      error instanceof ConnectionClosed ? (this.#dead ?? ConnectionClosed.of(this.#explain(error))) : error
    )
    return Effect.suspend(() => (this.#dead === undefined ? explained : Effect.fail(this.#dead)))
  }

  #stream(inner: BiStream): BiStream {
    const { readBytesPerSecond } = this.#faults
    const read = Effect.tap(inner.read, (chunk) => {
      const slow = readBytesPerSecond === undefined ? 0 : (chunk.length / readBytesPerSecond) * 1_000
      return slow > 0 ? Effect.andThen(this.#path.passable, Effect.sleep(slow)) : this.#path.passable
    })
    return {
      id: inner.id,
      read: this.#guard(read),
      write: (bytes) => this.#guard(this.#deliver(bytes, (arriving) => inner.write(arriving))),
      writeLast: (bytes) => this.#guard(this.#deliver(bytes, (arriving) => inner.writeLast(arriving))),
      finish: this.#guard(this.#deliver(NOTHING, () => inner.finish)),
      reset: (code) => inner.reset(code),
      stop: (code) => inner.stop(code)
    }
  }

  /** What a chunk goes through before it arrives. */
  #deliver<E>(
    bytes: Uint8Array,
    arrive: (bytes: Uint8Array) => Effect.Effect<void, E>
  ): Effect.Effect<void, E | ConnectionClosed> {
    return Effect.suspend((): Effect.Effect<void, E | ConnectionClosed> => {
      const dies = this.#dice.happens(this.#faults.death)
      const delay = this.#dice.delayMillis(this.#faults)
      const arriving = this.#dice.maybeCorrupt(bytes, this.#faults)
      if (dies)
        return Effect.andThen(
          this.die("lost"),
          Effect.suspend(() => Effect.fail(this.#dead!))
        )
      const onward = Effect.andThen(
        this.#path.passable,
        Effect.suspend(() => arrive(arriving))
      )
      return delay > 0 ? Effect.delay(onward, delay) : onward
    })
  }

  #datagrams(inner: Datagrams): Datagrams {
    let heldBack: Uint8Array | undefined
    const send = (message: Uint8Array): Effect.Effect<void, ConnectionClosed> =>
      Effect.suspend(() => {
        const lost = this.#dice.happens(this.#faults.loss)
        const twice = this.#dice.happens(this.#faults.duplicate)
        const later = this.#dice.happens(this.#faults.reorder)
        const delay = this.#dice.delayMillis(this.#faults)
        const arriving = this.#dice.maybeCorrupt(message, this.#faults)
        if (lost || !this.#path.isPassable()) return Effect.void
        if (later && heldBack === undefined) {
          heldBack = new Uint8Array(arriving)
          return Effect.void
        }
        const messages = [arriving, ...(twice ? [arriving] : []), ...(heldBack === undefined ? [] : [heldBack])]
        heldBack = undefined
        const sending = Effect.forEach(messages, (one) => inner.send(one), { discard: true })
        return delay > 0 ? Effect.delay(sending, delay) : sending
      })
    return {
      maxSize: inner.maxSize,
      send: (message) => this.#guard(send(message)),
      receive: this.#guard(inner.receive)
    }
  }
}

const NOTHING = new Uint8Array(0)
