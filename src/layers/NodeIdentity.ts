/**
 * Where the vault and the identity meet: the key of the role `Node` becomes the key that this node proves in handshakes and
 * signs with. Part of the assembly; a program that keeps its key elsewhere uses `IdentityLayer.layer` instead.
 *
 * The vault must be open when this is built. The copy of the key is wiped when the scope closes.
 */
import { Effect, Layer } from "effect"
import { Vault } from "../services/Vault.ts"
import * as IdentityLayer from "./Identity.ts"
import { makeLocalIdentity } from "./LocalIdentity.ts"

export const layer = Layer.unwrap(
  Effect.gen(function* () {
    const vault = yield* Vault
    return IdentityLayer.layer(yield* makeLocalIdentity(yield* vault.key({ _tag: "Node" })))
  })
)
