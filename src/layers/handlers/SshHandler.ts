/**
 * ALPN `alknet/ssh`: SSH-2 on one stream of a connection, and the same on a plain TCP listener where one is wanted (ssh.md
 * sections 1 and 2). Clients are `alknet ssh` and everything that can run a ProxyCommand.
 *
 * The ALPN is open to strangers, because SSH asks for a key itself; a connection that has proven a peer with rights here
 * needs none. What somebody may do is decided by scopes for each request: `ssh:shell`, `ssh:exec:<program>`, `sftp:read`,
 * `sftp:write`, `ssh:forward:<host>:<port>`, `ssh:listen:<address>:<port>`, `ssh:socket:<path>`. Agent forwarding and X11 are
 * refused. At most 512 clients are served at once; each has a minute to log in.
 *
 * Close codes: 0x00 in order, 0x03 when there are too many, 0x04 when draining.
 */

import { randomUUID } from "node:crypto"
import type { Duplex } from "node:stream"
import { Effect, Layer, Option, Redacted, Schema } from "effect"
import ssh2, { type ParsedKey } from "ssh2"
import { Alpn } from "../../protocol/Alpn.ts"
import { CloseCode } from "../../protocol/CloseCode.ts"
import type { SocketAddress } from "../../protocol/SocketAddress.ts"
import { encodeEd25519PrivateKey } from "../../protocol/ssh/PrivateKey.ts"
import { FileTree } from "../../services/FileTree.ts"
import { type AlpnTaken, Router } from "../../services/Router.ts"
import type { TransportError } from "../../services/Transport.ts"
import { listening } from "../forward/Listening.ts"
import type { NodeKeyPair } from "../LocalIdentity.ts"
import { toDuplex } from "../transport/adapters/duplex.ts"
import { type SshCaller, type SshServices, serveSsh } from "./ssh/Connection.ts"

export const SSH_ALPN = Alpn.make("alknet/ssh")

/** Clients at once. */
const CLIENTS_MAX = 512

export interface SshHandlerOptions {
  /** Ed25519 key that this node shows to SSH clients. A copy of it is held while the layer is there. */
  readonly hostKey: NodeKeyPair
  /** Where to listen for plain TCP too; there the SSH key alone says who somebody is. */
  readonly listen?: ReadonlyArray<SocketAddress>
  /** Folder for recordings of terminal sessions. Default: none are made. */
  readonly recordings?: string
  /** After so many bytes the keys of a connection change. Default 1 GiB. */
  readonly rekeyBytes?: number
}

/** The key cannot be used. */
export class SshHostKeyInvalid extends Schema.TaggedError<SshHostKeyInvalid>()("SshHostKeyInvalid", {}) {
  override get message() {
    return "the SSH host key is no Ed25519 key pair"
  }
}

const parsed = ({ publicKey, secret }: NodeKeyPair): Effect.Effect<ParsedKey, SshHostKeyInvalid> =>
  Effect.suspend(() => {
    const text = encodeEd25519PrivateKey(publicKey, Redacted.value(secret))
    const key: ParsedKey | ReadonlyArray<ParsedKey> | Error = ssh2.utils.parseKey(text)
    text.fill(0)
    return "type" in key ? Effect.succeed(key) : Effect.fail(new SshHostKeyInvalid())
  })

/** Serves the files of the environment over `sftp`, where it has any. */
export const layer = (
  options: SshHandlerOptions
): Layer.Layer<never, AlpnTaken | SshHostKeyInvalid | TransportError, Router | SshServices> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const router = yield* Router
      const services = yield* Effect.context<SshServices>()
      const connection = {
        hostKey: yield* parsed(options.hostKey),
        recordings: options.recordings,
        tree: Option.getOrUndefined(yield* Effect.serviceOption(FileTree)),
        ...(options.rekeyBytes === undefined ? {} : { rekeyBytes: options.rekeyBytes })
      }
      let clients = 0
      /** Serves a client, or answers false. */
      const serve = (duplex: Duplex, caller: SshCaller, draining: Effect.Effect<void>) =>
        Effect.suspend(() => {
          if (clients >= CLIENTS_MAX) return Effect.succeed(false)
          clients++
          return serveSsh(duplex, caller, connection, draining).pipe(
            Effect.ensuring(Effect.sync(() => clients--)),
            Effect.as(true)
          )
        }).pipe(Effect.scoped, Effect.provide(services))

      yield* router.register({
        alpn: SSH_ALPN,
        access: "anonymous",
        description: "shell, programs, files and forwards for ssh",
        accept: (from, _auth, draining) =>
          Effect.gen(function* () {
            const duplex = yield* toDuplex(yield* from.accept)
            const caller = { connectionId: from.id, peerKey: from.peer, remoteAddress: from.remoteAddress }
            if (!(yield* serve(duplex, caller, draining))) yield* from.close(CloseCode.TooMany, "")
          })
      })
      for (const address of options.listen ?? []) {
        yield* listening(address, ({ origin, socket }) => {
          const caller = { connectionId: randomUUID(), peerKey: undefined, remoteAddress: origin }
          return Effect.asVoid(serve(socket, caller, Effect.never))
        })
      }
    })
  )
