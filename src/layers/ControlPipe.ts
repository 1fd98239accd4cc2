/**
 * Control frames over one Unix socket (protocol/Control.ts): the same on both sides.
 *
 * Reading pulls: while frames wait to be received the socket is paused, so at most what one read of the kernel gave is
 * held. Writing waits for the kernel.
 */
import type { Socket } from "node:net"
import { Effect, Exit, Result, type Scope } from "effect"
import {
  type ControlFrame,
  ControlFrameDecoder,
  type ControlFrameInvalid,
  dataHeader,
  encodeMessage,
  PAYLOAD_MAX
} from "../protocol/Control.ts"

/** How the pipe ended: `end` is orderly, `lost` is not, `invalid` means that the other side broke the protocol. */
export type PipeEnd = "end" | "lost" | "invalid"

export class PipeClosed {
  readonly _tag = "PipeClosed"
  readonly why: PipeEnd
  constructor(why: PipeEnd) {
    this.why = why
  }
}

export interface ControlPipe {
  /** The next frame. One receiver at a time. */
  readonly receive: Effect.Effect<ControlFrame, PipeClosed>
  /** Writes an encoded frame; suspends while the kernel takes no more. */
  readonly send: (frame: Uint8Array) => Effect.Effect<void, PipeClosed>
  readonly sendMessage: (value: unknown) => Effect.Effect<void, PipeClosed | ControlFrameInvalid>
  /** Writes bytes as data frames. */
  readonly sendData: (bytes: Uint8Array) => Effect.Effect<void, PipeClosed>
  /** Ends our direction, orderly, after everything that was sent. */
  readonly end: Effect.Effect<void>
}

/** Frames over a socket that is open; the socket is destroyed when the scope closes. */
export const makeControlPipe = (socket: Socket): Effect.Effect<ControlPipe, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Pipe(socket)),
    (pipe) => Effect.sync(() => pipe.destroy())
  )

class Pipe implements ControlPipe {
  private readonly socket: Socket
  private readonly decoder = new ControlFrameDecoder()
  private readonly frames: Array<ControlFrame> = []
  private waiting: ((exit: Exit.Exit<ControlFrame, PipeClosed>) => void) | undefined
  private ended: PipeEnd | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (bytes) => this.arrived(bytes))
    socket.once("end", () => this.finish("end"))
    socket.on("error", () => this.finish("lost"))
    socket.once("close", () => this.finish("lost"))
    socket.pause()
  }

  private arrived(bytes: Uint8Array | string): void {
    const decoded = this.decoder.push(typeof bytes === "string" ? Buffer.from(bytes) : bytes)
    if (Result.isFailure(decoded)) {
      this.finish("invalid")
      this.socket.destroy()
      return
    }
    this.frames.push(...decoded.success)
    this.deliver()
    if (this.frames.length > 0) this.socket.pause()
  }

  private finish(why: PipeEnd): void {
    this.ended ??= why
    this.deliver()
  }

  private deliver(): void {
    const waiting = this.waiting
    if (waiting === undefined) return
    const frame = this.frames.shift()
    if (frame === undefined && this.ended === undefined) return
    this.waiting = undefined
    waiting(frame === undefined ? Exit.fail(new PipeClosed(this.ended!)) : Exit.succeed(frame))
  }

  readonly receive: Effect.Effect<ControlFrame, PipeClosed> = Effect.callback((resume) => {
    this.waiting = resume
    this.deliver()
    if (this.waiting !== undefined) this.socket.resume()
    return Effect.sync(() => {
      if (this.waiting === resume) this.waiting = undefined
    })
  })

  readonly send = (frame: Uint8Array): Effect.Effect<void, PipeClosed> =>
    Effect.callback((resume) => {
      // The callback comes when the kernel has the bytes, or with an error when the socket is gone.
      this.socket.write(frame, (error) =>
        resume(error ? Effect.fail(new PipeClosed(this.ended ?? "lost")) : Effect.void)
      )
    })

  readonly sendMessage = (value: unknown): Effect.Effect<void, PipeClosed | ControlFrameInvalid> =>
    Effect.flatMap(Effect.fromResult(encodeMessage(value)), this.send)

  /** Header and bytes in one system call, without copying the bytes. */
  private sendPart(part: Uint8Array): Effect.Effect<void, PipeClosed> {
    return Effect.callback((resume) => {
      this.socket.cork()
      this.socket.write(dataHeader(part.length), () => {})
      this.socket.write(part, (error) =>
        resume(error ? Effect.fail(new PipeClosed(this.ended ?? "lost")) : Effect.void)
      )
      this.socket.uncork()
    })
  }

  readonly sendData = (bytes: Uint8Array): Effect.Effect<void, PipeClosed> => {
    if (bytes.length <= PAYLOAD_MAX) return bytes.length === 0 ? Effect.void : this.sendPart(bytes)
    const parts: Array<Uint8Array> = []
    for (let offset = 0; offset < bytes.length; offset += PAYLOAD_MAX) {
      parts.push(bytes.subarray(offset, offset + PAYLOAD_MAX))
    }
    return Effect.forEach(parts, (part) => this.sendPart(part), { discard: true })
  }

  readonly end: Effect.Effect<void> = Effect.sync(() => {
    if (!this.socket.destroyed) this.socket.end()
  })

  destroy(): void {
    if (this.socket.writableEnded) this.socket.destroySoon()
    else this.socket.destroy()
  }
}
