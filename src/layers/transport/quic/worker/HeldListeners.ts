/**
 * The listeners of the isolated transport: their sockets are bound in the main thread and stay bound when the worker is
 * lost; each new worker is told of them again.
 */
import type { Alpn } from "../../../../protocol/Alpn.ts"
import { CloseCode } from "../../../../protocol/CloseCode.ts"
import type { EngineListen, Listened, ListenFailure } from "../Engine.ts"
import { openUdpSocket, type UdpSocket } from "../UdpSocket.ts"
import type { HeldSockets } from "./HeldSockets.ts"
import type { Identities } from "./Identities.ts"
import type { IsolatedConnection } from "./IsolatedConnection.ts"
import type { ToThread } from "./Wire.ts"

interface Listening {
  readonly request: EngineListen
  readonly socket: UdpSocket
  /** Number of the socket in the thread; undefined while nobody is there to take its datagrams. */
  inThread: number | undefined
  /** Not called yet. */
  listened: Listened | undefined
  /** Set while it is being closed: called when the thread has ended it. */
  unlistened: (() => void) | undefined
  /** The ALPNs that the thread knows. */
  node: ReadonlyArray<Alpn> | undefined
  web: ReadonlyArray<Alpn> | undefined
}

/** What the listeners need of the engine. */
export interface ListenersOwner {
  readonly sockets: HeldSockets
  readonly identities: Identities
  readonly tell: (message: ToThread) => void
  /** Has a thread where there can be one. `begun`: it will be told of all listeners. */
  readonly start: () => "begun" | "running" | "paused" | "off"
  readonly isRunning: () => boolean
}

export class HeldListeners {
  readonly #owner: ListenersOwner
  readonly #listening = new Map<number, Listening>()
  #last = 0

  constructor(owner: ListenersOwner) {
    this.#owner = owner
  }

  get size(): number {
    return this.#listening.size
  }

  listen(request: EngineListen, done: Listened): void {
    let listening: Listening | undefined
    openUdpSocket(
      request.address,
      (datagram, { address, port }) => {
        if (listening?.inThread !== undefined) this.#owner.sockets.arrived(listening.inThread, address, port, datagram)
      },
      (socket, code) => {
        if (socket === undefined) {
          done(undefined, { kind: "bind", code })
          return
        }
        listening = {
          request,
          socket,
          inThread: undefined,
          listened: done,
          unlistened: undefined,
          node: undefined,
          web: undefined
        }
        const number = ++this.#last
        this.#listening.set(number, listening)
        const state = this.#owner.start()
        if (state === "running") this.#tell(number, listening)
        if (state === "off") this.refused(number, { kind: "unsupported" })
      }
    )
  }

  /** A thread began. */
  started(): void {
    for (const [number, listening] of this.#listening) this.#tell(number, listening)
  }

  /** The thread is lost. `isOff`: there will be no other. */
  gone(isOff: boolean): void {
    for (const [number, listening] of [...this.#listening]) {
      listening.inThread = undefined
      listening.unlistened?.()
      // One that nobody has yet is not waited for: the next thread may end like this one.
      this.refused(number, isOff ? { kind: "unsupported" } : { kind: "bind", code: "EIO" })
    }
  }

  /** The thread has taken the listener. */
  listening(number: number): void {
    const listening = this.#listening.get(number)
    const listened = listening?.listened
    if (listening === undefined || listened === undefined) return
    listening.listened = undefined
    listened({ address: listening.socket.local, close: (done) => this.#close(number, listening, done) }, undefined)
  }

  /** The thread cannot have the listener. One that worked before stays, for the next thread. */
  refused(number: number, failure: ListenFailure): void {
    const listening = this.#listening.get(number)
    const listened = listening?.listened
    if (listening === undefined || listened === undefined) return
    this.#listening.delete(number)
    listening.socket.close(() => listened(undefined, failure))
  }

  unlistened(number: number): void {
    this.#listening.get(number)?.unlistened?.()
  }

  /** The thread wants the socket of a listener, which is bound already. */
  lend(number: number, inThread: number): void {
    const listening = this.#listening.get(number)
    if (listening === undefined) {
      this.#owner.tell({ type: "notBound", socket: inThread, code: "ECANCELED" })
      return
    }
    listening.inThread = inThread
    this.#owner.sockets.lend(inThread, listening.socket)
    this.#owner.tell({ type: "bound", socket: inThread, local: listening.socket.local })
  }

  /** Lists are replaced when they change, so an array that the thread has is not sent again. */
  tellAlpns(number: number): void {
    const listening = this.#listening.get(number)
    if (listening === undefined) return
    const { alpns } = listening.request
    const node = alpns.node()
    const web = alpns.web()
    this.#owner.tell({
      type: "alpns",
      listener: number,
      node: node === listening.node ? undefined : node,
      web: web === listening.web ? undefined : web
    })
    listening.node = node
    listening.web = web
  }

  connected(number: number, connection: IsolatedConnection): void {
    const listening = this.#listening.get(number)
    if (listening === undefined || listening.unlistened !== undefined) connection.close(CloseCode.NoError, "")
    else listening.request.onConnection(connection)
  }

  #tell(number: number, listening: Listening): void {
    const { identities, tell } = this.#owner
    listening.node = undefined
    listening.web = undefined
    const { identity, web } = listening.request
    const address = listening.socket.local
    tell({ type: "listen", listener: number, address, identity: identities.number(identity), web })
  }

  #close(number: number, listening: Listening, done: () => void): void {
    const end = () => {
      this.#listening.delete(number)
      listening.unlistened = undefined
      listening.socket.close(done)
    }
    if (!this.#owner.isRunning()) {
      end()
      return
    }
    listening.unlistened = end
    this.#owner.tell({ type: "unlisten", listener: number })
  }
}
