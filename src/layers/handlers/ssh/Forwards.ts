/**
 * Forwards of a connection: channels to where the client wants to connect, and listeners of this machine whose connections
 * become channels to the client. Who may is decided by `Forward.ts`; a refusal is an answer without a destination.
 */

import type { Socket } from "node:net"
import { Effect, Exit, FiberMap, type Scope } from "effect"
import type { AcceptConnection, RejectConnection, ServerChannel, Connection as SshConnection } from "ssh2"
import type { ForwardPolicy } from "../../../services/ForwardPolicy.ts"
import type { Principal } from "../../../services/Identity.ts"
import {
  dialSocket,
  dialTarget,
  type ForwardFailed,
  listenForward,
  listenSocketForward
} from "../../forward/Forward.ts"
import { joinStream } from "../../forward/Join.ts"
import type { Arrival } from "../../forward/Listening.ts"
import { type Carrier, fromChannel } from "./ChannelStream.ts"

/** Forwarded connections of one client at once, and its listeners. */
const FORWARDS_MAX = 1024
const LISTENERS_MAX = 32

interface Forwarding {
  readonly carrier: Carrier
  readonly principal: () => Principal | undefined
  readonly mayForward: () => boolean
  readonly run: (effect: Effect.Effect<void, never, ForwardPolicy>) => void
}

/** Answers the requests of a client for forwards, until the scope closes. */
export const serveForwards = Effect.fnUntraced(function* (
  client: SshConnection,
  { carrier, mayForward, principal, run }: Forwarding
): Effect.fn.Return<void, never, Scope.Scope> {
  const listeners = yield* FiberMap.make<number>()
  let live = 0

  const connect = (
    accept: AcceptConnection<ServerChannel>,
    reject: RejectConnection,
    dial: Effect.Effect<Socket, ForwardFailed, ForwardPolicy | Scope.Scope>
  ): void => {
    if (live >= FORWARDS_MAX || !mayForward()) {
      reject()
      return
    }
    live++
    run(
      Effect.gen(function* () {
        const socket = yield* dial
        const channel = accept()
        if (channel === undefined) return
        yield* joinStream(yield* fromChannel(channel, carrier), socket)
      }).pipe(
        Effect.scoped,
        Effect.catch(() => Effect.sync(reject)),
        Effect.ensuring(Effect.sync(() => live--))
      )
    )
  }
  client.on("tcpip", (accept, reject, { destIP, destPort }) =>
    connect(
      accept,
      reject,
      Effect.suspend(() => dialTarget(principal(), { host: destIP, port: destPort }))
    )
  )
  client.on("openssh.streamlocal", (accept, reject, { socketPath }) =>
    connect(
      accept,
      reject,
      Effect.suspend(() => dialSocket(principal(), socketPath))
    )
  )

  /** Gives an arrival to the client, and joins it with the channel that the client accepts. */
  const hand = (
    { socket }: Arrival,
    open: (done: (error: Error | undefined, channel: ServerChannel) => void) => void
  ): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen(function* () {
      if (principal() === undefined || live >= FORWARDS_MAX) return
      live++
      yield* Effect.addFinalizer(() => Effect.sync(() => live--))
      const channel = yield* opened(open)
      if (channel !== undefined) yield* joinStream(yield* fromChannel(channel, carrier), socket)
    })

  /** Names of listeners as the client knows them, and the fibers that listen. */
  const names = new Map<string, number>()
  let count = 0

  /** Listens in a fiber of its own, which is what a cancellation ends. `nameOf` names it when its port is known. */
  const listen = (
    { accept, reject }: Answer,
    nameOf: (port: number) => string,
    listening: Effect.Effect<number, ForwardFailed, ForwardPolicy | Scope.Scope>
  ): void => {
    const fiber = ++count
    const work = Effect.gen(function* () {
      const port = yield* listening
      const name = nameOf(port)
      names.set(name, fiber)
      yield* Effect.addFinalizer(() => Effect.sync(() => names.delete(name)))
      accept?.(port)
      return yield* Effect.never
    }).pipe(
      Effect.scoped,
      Effect.catch(() => Effect.sync(() => reject?.()))
    )
    run(
      Effect.flatMap(FiberMap.size(listeners), (size) =>
        size >= LISTENERS_MAX ? Effect.sync(() => reject?.()) : Effect.asVoid(FiberMap.run(listeners, fiber, work))
      )
    )
  }
  const cancel = ({ accept, reject }: Answer, name: string): void => {
    const fiber = names.get(name)
    if (fiber === undefined) reject?.()
    else
      run(
        Effect.andThen(
          FiberMap.remove(listeners, fiber),
          Effect.sync(() => accept?.())
        )
      )
  }

  client.on("request", (accept, reject, name, info) => {
    if (!mayForward()) {
      reject?.()
      return
    }
    const answer = { accept, reject }
    const cancels = name.startsWith("cancel-")
    if ("bindAddr" in info) {
      const { bindAddr: host, bindPort: port } = info
      const nameOf = (bound: number) => `${host} ${bound}`
      if (cancels) return cancel(answer, nameOf(port))
      let bound = port
      const onArrival = (arrival: Arrival) =>
        hand(arrival, (done) => {
          const { host: from = "127.0.0.1", port: fromPort = 0 } = arrival.origin ?? {}
          client.forwardOut(host, bound, from, fromPort, done)
        })
      const listening = Effect.suspend(() => listenForward(principal(), { host, port }, onArrival))
      listen(
        answer,
        nameOf,
        Effect.map(listening, (at) => {
          bound = at.port
          return bound
        })
      )
    } else if ("socketPath" in info) {
      const { socketPath } = info
      if (cancels) return cancel(answer, socketPath)
      const listening = Effect.suspend(() =>
        listenSocketForward(principal(), socketPath, (arrival) =>
          hand(arrival, (done) => client.openssh_forwardOutStreamLocal(socketPath, done))
        )
      )
      listen(answer, () => socketPath, Effect.as(listening, 0))
    }
  })
})

interface Answer {
  readonly accept: ((port?: number) => void) | undefined
  readonly reject: (() => void) | undefined
}

/** The channel that the client gives for an arrival; undefined where it does not. */
const opened = (
  open: (done: (error: Error | undefined, channel: ServerChannel) => void) => void
): Effect.Effect<ServerChannel | undefined> =>
  Effect.callback((resume) => {
    try {
      open((error, channel) => resume(Exit.succeed(error == null ? channel : undefined)))
    } catch {
      resume(Exit.succeed(undefined))
    }
  })
