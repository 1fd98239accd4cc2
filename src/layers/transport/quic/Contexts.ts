/**
 * TLS contexts and transport parameters of the QUIC driver: what a handshake is made with.
 *
 * There are three. `node` accepts nodes: Ed25519 certificate, a client certificate is required. `web` accepts anonymous
 * clients, browsers among them: P-256 certificate, no client certificate. `dial` presents our node certificate and takes
 * any (the stack proves possession of its key, the driver then checks the key: ID-R12, ID-R13).
 *
 * A context is made once and shared by all its handshakes. It offers the ALPNs of the moment: they are set again when the
 * array is another one, which changes later handshakes only. Early data is never enabled (ID-R10).
 */
import { randomBytes } from "node:crypto"
import type { Quiche, QuicheConfig } from "./Binding.ts"
import { ACTIVE_CONNECTION_IDS, DATAGRAM_BYTES_MAX, type QuicLimits } from "./Limits.ts"

/** Certificate and private key, both PEM. */
export interface TlsIdentity {
  readonly certificate: Uint8Array
  readonly key: Uint8Array
}

export interface ContextOptions {
  readonly limits: QuicLimits
  /** Largest UDP payload that we send, in bytes. */
  readonly datagramBytes: number
  /** Whether a peer may move to another address. */
  readonly migration: boolean
}

/** A shared `Config`, and the list of ALPNs that it offers now. */
export class TlsContext {
  readonly #config: QuicheConfig
  #offered: ReadonlyArray<string> | undefined

  constructor(config: QuicheConfig) {
    this.#config = config
  }

  /** The config with these ALPNs. The array must be replaced, never changed: its identity is what is compared. */
  offering(alpns: ReadonlyArray<string>): QuicheConfig {
    if (this.#offered !== alpns) {
      // With an empty list the stack would skip ALPN and accept anybody; a random name matches nobody.
      this.#config.setApplicationProtos(alpns.length === 0 ? [randomBytes(16).toString("hex")] : [...alpns])
      this.#offered = alpns
    }
    return this.#config
  }
}

/** `node` requires a certificate of the client, `web` asks for none, `dial` is the client's own. */
export type ContextRole = "node" | "web" | "dial"

export const makeContext = (
  quiche: Quiche,
  role: ContextRole,
  identity: TlsIdentity,
  options: ContextOptions
): TlsContext => {
  const verifyPeer = role !== "web"
  const config = quiche.Config.withBoringSslCtx(
    verifyPeer,
    verifyPeer,
    undefined,
    [identity.key],
    [identity.certificate],
    role === "web" ? "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256" : "ed25519"
  )
  const { limits } = options
  config.setMaxIdleTimeout(limits.idleMillis)
  config.setMaxRecvUdpPayloadSize(DATAGRAM_BYTES_MAX)
  config.setMaxSendUdpPayloadSize(options.datagramBytes)
  // No window for the connection as a whole: the stack opens it again only when less than half of it lies unread, and half of
  // it may be 24 KiB, so that one stream whose reader waits would hold up all others for ever. What lies unread is bounded by
  // the windows of the streams and by the watchdog.
  config.setInitialMaxData(Number.MAX_SAFE_INTEGER)
  const firstWindow = Math.min(limits.firstStreamWindowBytes, limits.streamWindowBytes)
  config.setInitialMaxStreamDataBidiLocal(firstWindow)
  config.setInitialMaxStreamDataBidiRemote(firstWindow)
  config.setMaxStreamWindow(limits.streamWindowBytes)
  config.setInitialMaxStreamsBidi(limits.streams)
  // The Transport contract has streams in both directions only.
  config.setInitialMaxStreamsUni(0)
  config.setActiveConnectionIdLimit(ACTIVE_CONNECTION_IDS)
  config.setDisableActiveMigration(!options.migration)
  config.setCcAlgorithmName("cubic")
  config.enableHystart(true)
  // The binding hides when a packet should leave, so pacing cannot be honoured.
  config.enablePacing(false)
  config.grease(false)
  config.enableDgram(true, limits.datagramQueue, limits.datagramQueue)
  return new TlsContext(config)
}
