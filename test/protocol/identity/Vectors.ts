import { hexToBytes } from "@noble/hashes/utils.js"
import vectors from "../../vectors/identity.json" with { type: "json" }

/** The published vectors of the identity specification. */
export { vectors }

/** Every key of the vectors that may not become a NodeId, by kind. */
export const refusedKeys: ReadonlyArray<readonly [string, Uint8Array]> = (
  ["smallOrder", "notCanonical", "notAPoint"] as const
).flatMap((kind) => vectors.refusedKeys[kind].map((hex) => [`${kind} ${hex}`, hexToBytes(hex)] as const))

/** The texts and payloads of the published tickets. */
export const ticketVector = (name: "plain" | "invite" | "access") =>
  vectors.tickets.cases.find((vector) => vector.name === name)!
