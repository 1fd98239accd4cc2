/**
 * A `BiStream` as a `node:stream` Duplex, for what speaks only that: ssh2, node:http, node:http2, child processes.
 *
 * Half-close is kept (`allowHalfOpen`). Destroying the Duplex resets and stops what is not over yet. A reset by the peer and
 * a lost connection become an error with the code `ECONNRESET`, which is what Node's libraries expect. Nothing is buffered
 * here; the Duplex itself holds up to its two high-water marks.
 */
import { Duplex } from "node:stream"
import { Cause, Effect, Exit, type Scope } from "effect"
import type { BiStream } from "../../../services/Transport.ts"

/** The Duplex lives until it ends or the scope closes, whichever comes first. */
export const toDuplex = (stream: BiStream): Effect.Effect<Duplex, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.context<never>(), (context) => new StreamDuplex(stream, Effect.runCallbackWith(context))),
    (duplex) =>
      Effect.callback<void>((resume) => {
        if (duplex.closed) return resume(Effect.void)
        duplex.once("close", () => resume(Effect.void))
        duplex.destroy()
      })
  )

type Run = ReturnType<typeof Effect.runCallbackWith<never>>

class StreamDuplex extends Duplex {
  readonly #stream: BiStream
  readonly #run: Run
  #readOver = false
  #writeOver = false
  #cancelRead: () => void = () => {}

  constructor(stream: BiStream, run: Run) {
    super({ allowHalfOpen: true, emitClose: true })
    this.#stream = stream
    this.#run = run
  }

  override _read(): void {
    this.#cancelRead = this.#run(this.#stream.read, {
      onExit: (exit) => {
        if (Exit.isSuccess(exit)) {
          this.push(exit.value)
          return
        }
        this.#readOver = true
        const failure = Cause.findErrorOption(exit.cause)
        if (failure._tag === "Some" && failure.value._tag === "EndOfStream") this.push(null)
        else if (!Cause.hasInterruptsOnly(exit.cause)) this.destroy(connectionReset(exit.cause))
      }
    })
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#run(this.#stream.write(chunk), { onExit: (exit) => this.#written(exit, done) })
  }

  override _writev(chunks: ReadonlyArray<{ readonly chunk: Buffer }>, done: (error?: Error | null) => void): void {
    const all = Buffer.concat(chunks.map(({ chunk }) => chunk))
    this.#run(this.#stream.write(all), { onExit: (exit) => this.#written(exit, done) })
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#run(this.#stream.finish, {
      onExit: (exit) => {
        this.#writeOver = true
        this.#written(exit, done)
      }
    })
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#cancelRead()
    const stop = this.#readOver ? Effect.void : this.#stream.stop(0)
    const reset = this.#writeOver ? Effect.void : this.#stream.reset(0)
    this.#run(Effect.andThen(reset, stop), { onExit: () => done(error) })
  }

  #written(exit: Exit.Exit<void, unknown>, done: (error?: Error | null) => void): void {
    if (Exit.isSuccess(exit)) {
      done()
    } else {
      this.#writeOver = true
      done(connectionReset(exit.cause))
    }
  }
}

const connectionReset = (cause: Cause.Cause<unknown>): Error => {
  const failure = Cause.squash(cause)
  const message = failure instanceof Error ? failure.message : "the stream was reset"
  return Object.assign(new Error(message, { cause: failure }), { code: "ECONNRESET" })
}
