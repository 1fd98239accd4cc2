/**
 * What a derived key is for. The service takes a role, never a path: the path table (`KeyPath`) gives each role one path and
 * one scheme. Keys that seal credentials have no role, because they never leave the vault.
 */
export type KeyRole =
  | { readonly _tag: "Node" }
  | { readonly _tag: "SshHost" }
  /** `n` from 1: device 0 is the node itself. */
  | { readonly _tag: "Device"; readonly n: number }
  /** `index` from 0. */
  | { readonly _tag: IndexedRole; readonly index: number }
  /** The key shown to one peer only; `peer` is its 32-byte public key. */
  | { readonly _tag: "Pseudonym"; readonly peer: Uint8Array; readonly index: number }

export type IndexedRole =
  | "SshUser"
  | "GitSigning"
  | "PkarrZone"
  | "MessagingSigning"
  | "MessagingAgreement"
  | "Mixnet"
  | "BlobTicket"
