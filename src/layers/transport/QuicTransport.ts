/**
 * The QUIC transport: `Transport` over our own driver on the native quiche binding (transport.md section 2).
 *
 * This file is the Effect side: layer, scopes, errors. The driver is in `quic/`, plain synchronous code; the first dial or
 * listen loads the native binding, and where the platform has none every call answers `Unsupported`.
 *
 * What it does not do: choose between transports (CombinedTransport), decide who may stay (Router), retry.
 */
import { lookup } from "node:dns"
import { isIP } from "node:net"
import { Clock, Effect, Exit, Layer, Redacted, type Scope } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { formatSocketAddress, type SocketAddress } from "../../protocol/SocketAddress.ts"
import type { LocalIdentity } from "../../services/Identity.ts"
import {
  type Connection,
  ConnectionClosed,
  DialError,
  type DialOptions,
  type Listener,
  type ListenOptions,
  PeerMismatch,
  Transport,
  TransportError
} from "../../services/Transport.ts"
import { Acceptor } from "./quic/Acceptor.ts"
import { Admission } from "./quic/Admission.ts"
import { loadBinding, type Quiche } from "./quic/Binding.ts"
import { ClientSockets } from "./quic/ClientSockets.ts"
import { makeContext, type TlsContext } from "./quic/Contexts.ts"
import { type DialFailure, dial } from "./quic/Dialer.ts"
import { Driver, type DriverOptions } from "./quic/Driver.ts"
import { fromQuicConnection } from "./quic/EffectConnection.ts"
import { DEFAULT_LIMITS, type QuicLimits } from "./quic/Limits.ts"
import type { QuicConnection } from "./quic/QuicConnection.ts"
import { makeWebIdentity } from "./quic/WebCertificate.ts"
import { Waitable } from "./Waitable.ts"

export interface QuicTransportOptions {
  /** Bounds that differ from `DEFAULT_LIMITS`. */
  readonly limits?: Partial<QuicLimits>
  /** Largest UDP payload to send, 1,200 to 65,527. Larger than 1,350 only where every path is known to carry it. */
  readonly datagramBytes?: number
  /**
   * Serves anonymous clients, with the ALPNs that are public. Off by default: the native stack has published flaws that any
   * client which completes a handshake can use, and TLS over TCP serves the same clients.
   */
  readonly web?: boolean
  /** Lets peers move to another address. Off: datagrams from elsewhere are dropped. */
  readonly migration?: boolean
}

const DATAGRAM_BYTES = 1350

/** One transport: its limits are shared by everything it listens on and dials. */
export const layer = (options: QuicTransportOptions = {}): Layer.Layer<Transport> =>
  Layer.effect(Transport, make(options))

const make = Effect.fnUntraced(function* (options: QuicTransportOptions) {
  const limits: QuicLimits = { ...DEFAULT_LIMITS, ...options.limits }
  const settings = {
    limits,
    datagramBytes: options.datagramBytes ?? DATAGRAM_BYTES,
    migration: options.migration ?? false
  }
  const admission = new Admission(limits)
  const driverOptions = (quiche: Quiche): DriverOptions => ({ quiche, ...settings })
  let clients: ClientSockets | undefined
  yield* Effect.addFinalizer(() =>
    Effect.callback<void>((resume) => {
      if (clients === undefined) return resume(Effect.void)
      clients.close(CloseCode.NoError, () => resume(Effect.void))
    })
  )

  /** One dial context per identity: making one parses PEM and builds a TLS context. */
  const dialContexts = new WeakMap<LocalIdentity, TlsContext>()
  const offers = new Map<string, ReadonlyArray<string>>()
  const dialConfig = (quiche: Quiche, request: DialOptions) => {
    let context = dialContexts.get(request.identity)
    if (context === undefined) {
      context = makeContext(quiche, "dial", tlsIdentity(request.identity), settings)
      dialContexts.set(request.identity, context)
    }
    let offer = offers.get(request.alpn)
    if (offer === undefined) {
      offer = [request.alpn]
      offers.set(request.alpn, offer)
    }
    return context.offering(offer)
  }

  const listen = Effect.fn("QuicTransport.listen")(function* (
    request: ListenOptions
  ): Effect.fn.Return<Listener, TransportError, Scope.Scope> {
    const address = formatSocketAddress(request.address)
    const quiche = yield* Effect.tryPromise({ try: loadBinding, catch: () => unsupported(address) })
    const driver = new Driver(driverOptions(quiche))
    const now = yield* Clock.currentTimeMillis
    const { node, web } = yield* Effect.try({
      try: () => ({
        node: makeContext(quiche, "node", tlsIdentity(request.identity), settings),
        web: options.web === true ? makeContext(quiche, "web", makeWebIdentity(now), settings) : undefined
      }),
      catch: () => new TransportError({ reason: "Io", address, hint: "the TLS stack refuses the certificate" })
    })
    let isClosed = false
    const backlog: Array<QuicConnection> = []
    const accepting = new Waitable<Connection, ConnectionClosed>(() => {
      if (isClosed) return LISTENER_CLOSED
      const connection = backlog.shift()
      return connection === undefined ? undefined : Exit.succeed(fromQuicConnection(connection))
    })
    yield* Effect.acquireRelease(bind(driver, request.address), () =>
      Effect.callback<void>((resume) => {
        isClosed = true
        accepting.wake()
        driver.close(CloseCode.NoError, "", () => resume(Effect.void))
      })
    )
    const onConnection = (connection: QuicConnection) => {
      if (backlog.length >= limits.backlog) return connection.close(CloseCode.TooMany, "")
      backlog.push(connection)
      accepting.wake()
    }
    new Acceptor({ driver, admission, alpns: request.alpns, node, web, onConnection })
    return { address: driver.local, accept: accepting.effect }
  })

  const dialNode = Effect.fn("QuicTransport.dial")(function* (
    request: DialOptions
  ): Effect.fn.Return<Connection, DialError, Scope.Scope> {
    const target = formatSocketAddress(request.address)
    const quiche = yield* Effect.tryPromise({
      try: loadBinding,
      catch: () =>
        new DialError({ reason: { _tag: "Unsupported" }, target, hint: "QUIC does not run on this platform" })
    })
    clients ??= new ClientSockets(driverOptions(quiche))
    const sockets = clients
    const remote = yield* resolve(request.address, target)
    const driver = yield* Effect.callback<Driver, DialError>((resume) => {
      sockets.get(remote.host, (driver, failed) =>
        resume(driver === undefined ? Exit.fail(unreachable(target, failed?.code ?? "EIO")) : Exit.succeed(driver))
      )
    })
    const config = yield* Effect.try({
      try: () => dialConfig(quiche, request),
      catch: () => unreachable(target, "EINVAL")
    })
    // Closes the connection with the scope, and gives up a handshake that is still under way.
    let end = () => {}
    yield* Effect.addFinalizer(() => Effect.sync(() => end()))
    return yield* Effect.callback<Connection, DialError>((resume) => {
      const { alpn, expect } = request
      const giveUp = dial(driver, {
        remote,
        expect,
        alpn,
        config,
        done: (connection, failure) =>
          resume(
            connection === undefined
              ? Exit.fail(dialError(failure!, request, target))
              : Exit.succeed(fromQuicConnection(connection))
          )
      })
      end = giveUp
      return Effect.sync(giveUp)
    })
  })

  return Transport.of({ name: "quic", listen, dial: dialNode })
})

const LISTENER_CLOSED = Exit.fail(
  new ConnectionClosed({ by: "local", kind: "app", code: CloseCode.NoError, reason: "the listener is closed" })
)

const tlsIdentity = (identity: LocalIdentity) => ({
  certificate: new TextEncoder().encode(identity.certPem),
  key: Redacted.value(identity.keyPem)
})

const bind = (driver: Driver, address: SocketAddress): Effect.Effect<void, TransportError> =>
  Effect.callback((resume) => {
    driver.bind(address, (failed) => {
      resume(failed === undefined ? Exit.void : Exit.fail(bindError(failed, formatSocketAddress(address))))
    })
  })

/** A literal address, or the first one that the system's resolver gives for a name. */
const resolve = (address: SocketAddress, target: string): Effect.Effect<SocketAddress, DialError> => {
  if (isIP(address.host) !== 0) return Effect.succeed(address)
  return Effect.callback((resume) => {
    lookup(address.host, { verbatim: true }, (failed, host) => {
      resume(
        failed === null
          ? Exit.succeed({ host, port: address.port })
          : Exit.fail(unreachable(target, failed.code ?? "EIO"))
      )
    })
  })
}

const unsupported = (address: string) =>
  new TransportError({
    reason: "Unsupported",
    address,
    hint: "there is no QUIC for this platform; TLS over TCP is served"
  })

const BIND_ERRORS = new Map<string | undefined, Pick<TransportError, "reason" | "hint">>([
  ["EADDRINUSE", { reason: "AddressInUse", hint: "another program listens there; choose another port" }],
  ["EADDRNOTAVAIL", { reason: "AddressInvalid", hint: "this machine does not have that address" }],
  ["EINVAL", { reason: "AddressInvalid", hint: "not an address that can be bound" }],
  ["EACCES", { reason: "PermissionDenied", hint: "ports below 1024 need a privilege; choose a higher one" }],
  ["EPERM", { reason: "PermissionDenied", hint: "the system does not allow it" }]
])

const bindError = (failed: NodeJS.ErrnoException, address: string): TransportError => {
  const known = BIND_ERRORS.get(failed.code)
  return new TransportError({ reason: "Io", hint: `the system says ${failed.code ?? "no more"}`, ...known, address })
}

const unreachable = (target: string, code: string) =>
  new DialError({ reason: { _tag: "Unreachable", code }, target, hint: `the system says ${code}` })

const dialError = (failure: DialFailure, request: DialOptions, target: string): DialError => {
  switch (failure.kind) {
    case "mismatch": {
      const reason = new PeerMismatch({ expected: request.expect, actual: failure.actual })
      return new DialError({ reason, target, hint: reason.message })
    }
    case "certificate":
      return new DialError({ reason: { _tag: "BadCertificate" }, target, hint: "what answered is not a node" })
    case "refused": {
      const reason = { _tag: "Refused", code: failure.code } as const
      return new DialError({ reason, target, hint: `refused with code 0x${failure.code.toString(16)}` })
    }
    case "timeout":
      return new DialError({ reason: { _tag: "TimedOut" }, target, hint: "nothing answered in time" })
    case "unreachable":
      return unreachable(target, failure.code)
  }
}
