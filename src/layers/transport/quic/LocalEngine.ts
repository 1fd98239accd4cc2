/**
 * The driver in this thread, as the Effect side and the worker thread use it: listeners, dials, TLS contexts, and the
 * admission that all of them share. The native binding is loaded when it is first needed.
 */
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import { Acceptor } from "./Acceptor.ts"
import { Admission } from "./Admission.ts"
import { loadBinding, type Quiche } from "./Binding.ts"
import { ClientSockets } from "./ClientSockets.ts"
import { type ContextOptions, makeContext, type TlsContext, type TlsIdentity } from "./Contexts.ts"
import { type DialFailure, dial } from "./Dialer.ts"
import { Driver, type DriverOptions } from "./Driver.ts"
import type { EngineDial, EngineListen, Listened, QuicEngine } from "./Engine.ts"
import type { QuicConnection } from "./QuicConnection.ts"
import type { OpenUdpSocket } from "./UdpSocket.ts"

/** ALPNs that were dialed and are remembered as a list of one. */
const OFFERS_MAX = 256

export interface LocalListen extends Omit<EngineListen, "onConnection"> {
  readonly onConnection: (connection: QuicConnection) => void
  /** Opens the socket; default: as the driver's options say. */
  readonly openSocket?: OpenUdpSocket
  /** Called for each datagram that may begin a connection; it is judged when `judge` is called. */
  readonly hold?: (judge: () => void) => void
}

export class LocalEngine implements QuicEngine {
  readonly #settings: ContextOptions
  readonly #openSocket: OpenUdpSocket | undefined
  readonly #admission: Admission
  readonly #dialContexts = new WeakMap<TlsIdentity, TlsContext>()
  readonly #offers = new Map<Alpn, ReadonlyArray<Alpn>>()
  #clients: ClientSockets | undefined = undefined

  constructor(settings: ContextOptions, openSocket?: OpenUdpSocket) {
    this.#settings = settings
    this.#openSocket = openSocket
    this.#admission = new Admission(settings.limits)
  }

  listen(request: LocalListen, done: Listened): void {
    loadBinding().then(
      (quiche) => this.#listen(quiche, request, done),
      () => done(undefined, { kind: "unsupported" })
    )
  }

  dial(request: EngineDial, done: (connection?: QuicConnection, failure?: DialFailure) => void): () => void {
    let isGivenUp = false
    let giveUp = () => {
      isGivenUp = true
    }
    const fail = (code: string) => done(undefined, { kind: "unreachable", code })
    const begin = (quiche: Quiche) => {
      if (isGivenUp) return
      this.#clients ??= new ClientSockets(this.#driverOptions(quiche))
      this.#clients.get(request.remote.host, (driver, failedCode) => {
        if (isGivenUp) return
        if (driver === undefined) return fail(failedCode)
        let context: TlsContext
        try {
          context = this.#dialContext(quiche, request.identity)
        } catch {
          return fail("EINVAL")
        }
        const { alpn, expect, remote } = request
        giveUp = dial(driver, { remote, expect, alpn, config: context.offering(this.#offer(alpn)), done })
      })
    }
    loadBinding().then(begin, () => {
      if (!isGivenUp) done(undefined, { kind: "unsupported" })
    })
    return () => giveUp()
  }

  close(done: () => void): void {
    if (this.#clients === undefined) done()
    else this.#clients.close(CloseCode.NoError, done)
  }

  #listen(quiche: Quiche, request: LocalListen, done: Listened): void {
    const driver = new Driver(this.#driverOptions(quiche, request.openSocket))
    let node: TlsContext
    let web: TlsContext | undefined
    try {
      node = makeContext(quiche, "node", request.identity, this.#settings)
      web = request.web && makeContext(quiche, "web", request.web, this.#settings)
    } catch {
      done(undefined, { kind: "certificate" })
      return
    }
    driver.bind(request.address, (failedCode) => {
      if (failedCode !== undefined) {
        done(undefined, { kind: "bind", code: failedCode })
        return
      }
      const { alpns, hold, onConnection } = request
      new Acceptor({ driver, admission: this.#admission, alpns, node, web, onConnection })
      if (hold !== undefined) driver.holdStrangers(hold)
      done({ address: driver.local, close: (closed) => driver.close(CloseCode.NoError, "", closed) }, undefined)
    })
  }

  #driverOptions(quiche: Quiche, openSocket = this.#openSocket): DriverOptions {
    return { quiche, ...this.#settings, ...(openSocket && { openSocket }) }
  }

  /** One per identity: making one parses PEM and builds a TLS context. */
  #dialContext(quiche: Quiche, identity: TlsIdentity): TlsContext {
    let context = this.#dialContexts.get(identity)
    if (context === undefined) {
      context = makeContext(quiche, "dial", identity, this.#settings)
      this.#dialContexts.set(identity, context)
    }
    return context
  }

  /** The same array each time, so that the context keeps what it offers. */
  #offer(alpn: Alpn): ReadonlyArray<Alpn> {
    let offer = this.#offers.get(alpn)
    if (offer === undefined) {
      if (this.#offers.size >= OFFERS_MAX) this.#offers.clear()
      offer = [alpn]
      this.#offers.set(alpn, offer)
    }
    return offer
  }
}
