/**
 * The QUIC transport: `Transport` over our own driver on the native quiche binding (transport.md section 2).
 *
 * This file is the Effect side: layer, scopes, errors. The driver is in `quic/`, plain synchronous code, and runs in this
 * thread or in a worker; the first dial or listen loads the native binding, and where the platform has none every call
 * answers `Unsupported`.
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
import type { ContextOptions, TlsIdentity } from "./quic/Contexts.ts"
import type { DialFailure } from "./quic/Dialer.ts"
import { fromQuicConnection } from "./quic/EffectConnection.ts"
import type { ConnectionHandle, EngineListener, ListenFailure, QuicEngine } from "./quic/Engine.ts"
import { DEFAULT_LIMITS, type QuicLimits } from "./quic/Limits.ts"
import { LocalEngine } from "./quic/LocalEngine.ts"
import { WorkerEngine } from "./quic/worker/WorkerEngine.ts"
import { Waitable } from "./Waitable.ts"
import { makeWebCertificate, type WebCertificate } from "./webCertificate.ts"

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
  /**
   * `worker`: the native stack runs in a worker thread. What goes wrong in there, up to a crash of the thread or an endless
   * loop, costs the QUIC connections and not the process; the thread is restarted, and the ports stay bound. It costs
   * throughput. Default: it runs in this thread.
   */
  readonly isolation?: "worker"
}

const DATAGRAM_BYTES = 1350

/** One transport: its limits are shared by everything it listens on and dials. */
export const layer = (options: QuicTransportOptions = {}): Layer.Layer<Transport> =>
  layerOf(
    (settings, report) =>
      options.isolation === "worker" ? new WorkerEngine({ ...settings, report }) : new LocalEngine(settings),
    options
  )

/** The transport over an engine of one's own. `report` writes a warning to the log. */
export const layerOf = (
  makeEngine: (settings: ContextOptions, report: (warning: string) => void) => QuicEngine,
  options: QuicTransportOptions = {}
): Layer.Layer<Transport> =>
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const run = Effect.runForkWith(yield* Effect.context<never>())
      const limits: QuicLimits = { ...DEFAULT_LIMITS, ...options.limits }
      const settings = {
        limits,
        datagramBytes: options.datagramBytes ?? DATAGRAM_BYTES,
        migration: options.migration ?? false
      }
      const engine = makeEngine(settings, (warning) => run(Effect.logWarning(warning)))
      yield* Effect.addFinalizer(() => Effect.callback<void>((resume) => engine.close(() => resume(Effect.void))))
      return overEngine(engine, limits, options.web === true)
    })
  )

const overEngine = (engine: QuicEngine, limits: QuicLimits, isWeb: boolean): Transport["Service"] => {
  /** The engine keeps what it makes of an identity with the object that it was given. */
  const identities = new WeakMap<LocalIdentity, TlsIdentity>()
  const identityOf = (identity: LocalIdentity): TlsIdentity => {
    let known = identities.get(identity)
    if (known === undefined) {
      known = { certificate: new TextEncoder().encode(identity.certPem), key: Redacted.value(identity.keyPem) }
      identities.set(identity, known)
    }
    return known
  }

  const listen = Effect.fn("QuicTransport.listen")(function* (
    request: ListenOptions
  ): Effect.fn.Return<Listener, TransportError, Scope.Scope> {
    const now = yield* Clock.currentTimeMillis
    let isClosed = false
    const backlog: Array<ConnectionHandle> = []
    const accepting = new Waitable<Connection, ConnectionClosed>(() => {
      if (isClosed) return LISTENER_CLOSED
      const connection = backlog.shift()
      return connection === undefined ? undefined : Exit.succeed(fromQuicConnection(connection))
    })
    const onConnection = (connection: ConnectionHandle) => {
      if (backlog.length >= limits.backlog) return connection.close(CloseCode.TooMany, "")
      backlog.push(connection)
      accepting.wake()
    }
    const listening = Effect.callback<EngineListener, TransportError>((resume) => {
      const { address, alpns } = request
      const web = isWeb ? pemBytes(makeWebCertificate({ kind: "fortnight", fromMillis: now })) : undefined
      const wanted = { address, alpns, identity: identityOf(request.identity), web, onConnection }
      engine.listen(wanted, (listener, failure) =>
        resume(listener === undefined ? Exit.fail(listenError(failure!, address)) : Exit.succeed(listener))
      )
    })
    const { address } = yield* Effect.acquireRelease(listening, (listener) =>
      Effect.callback<void>((resume) => {
        isClosed = true
        accepting.wake()
        listener.close(() => resume(Effect.void))
      })
    )
    return { address, accept: accepting.effect }
  })

  // Untraced, as `Endpoint.connect`: a span with its stack is a twentieth of a handshake.
  const dial = Effect.fnUntraced(function* (
    request: DialOptions
  ): Effect.fn.Return<Connection, DialError, Scope.Scope> {
    const target = formatSocketAddress(request.address)
    const remote = yield* resolve(request.address, target)
    // Closes the connection with the scope, and gives up a handshake that is still under way.
    let end = () => {}
    yield* Effect.addFinalizer(() => Effect.sync(() => end()))
    return yield* Effect.callback<Connection, DialError>((resume) => {
      const { alpn, expect } = request
      const wanted = { remote, expect, alpn, identity: identityOf(request.identity) }
      const giveUp = engine.dial(wanted, (connection, failure) =>
        resume(
          connection === undefined
            ? Exit.fail(dialError(failure!, request, target))
            : Exit.succeed(fromQuicConnection(connection))
        )
      )
      end = giveUp
      return Effect.sync(giveUp)
    })
  })

  return Transport.of({ name: "quic", listen, dial })
}

const pemBytes = ({ certPem, keyPem }: WebCertificate): TlsIdentity => ({
  certificate: new TextEncoder().encode(certPem),
  key: new TextEncoder().encode(keyPem)
})

const LISTENER_CLOSED = Exit.fail(
  new ConnectionClosed({ by: "local", kind: "app", code: CloseCode.NoError, reason: "the listener is closed" })
)

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

const BIND_ERRORS = new Map<string, Pick<TransportError, "reason" | "hint">>([
  ["EADDRINUSE", { reason: "AddressInUse", hint: "another program listens there; choose another port" }],
  ["EADDRNOTAVAIL", { reason: "AddressInvalid", hint: "this machine does not have that address" }],
  ["EINVAL", { reason: "AddressInvalid", hint: "not an address that can be bound" }],
  ["EACCES", { reason: "PermissionDenied", hint: "ports below 1024 need a privilege; choose a higher one" }],
  ["EPERM", { reason: "PermissionDenied", hint: "the system does not allow it" }]
])

const listenError = (failure: ListenFailure, at: SocketAddress): TransportError => {
  const address = formatSocketAddress(at)
  switch (failure.kind) {
    case "unsupported": {
      const hint = "there is no QUIC for this platform; TLS over TCP is served"
      return new TransportError({ reason: "Unsupported", address, hint })
    }
    case "certificate":
      return new TransportError({ reason: "Io", address, hint: "the TLS stack refuses the certificate" })
    case "bind": {
      const known = BIND_ERRORS.get(failure.code)
      return new TransportError({ reason: "Io", hint: `the system says ${failure.code}`, ...known, address })
    }
  }
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
    case "restarting":
      return new DialError({
        reason: { _tag: "Unreachable", code: "EAGAIN" },
        target,
        hint: "the QUIC thread is being restarted; try again in a moment"
      })
    case "unsupported":
      return new DialError({
        reason: { _tag: "Unsupported" },
        target,
        hint: "QUIC does not run on this platform"
      })
  }
}
