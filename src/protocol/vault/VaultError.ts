/**
 * Everything that the vault may answer instead of a result (vault.md section 10).
 *
 * A message is one plain sentence; `hint` says what to do next. Neither ever holds a secret, a word of a mnemonic, a text
 * that was read from a file, or the error of a library. A `field` is always a name from vault.md.
 */
import { Schema } from "effect"

/** There is no vault file. */
export class VaultAbsent extends Schema.TaggedError<VaultAbsent>()("VaultAbsent", {}) {
  override get message() {
    return "there is no vault yet"
  }
  get hint() {
    return "make one with `alknet vault create`, or bring one back from its words with `alknet vault restore`"
  }
}

/** The target of `create` or `restore` exists; it was not touched. */
export class VaultExists extends Schema.TaggedError<VaultExists>()("VaultExists", {}) {
  override get message() {
    return "a vault, or something else of its name, is already there and was left as it is"
  }
  get hint() {
    return "use another home with --home, or move the existing file away yourself"
  }
}

export class VaultLocked extends Schema.TaggedError<VaultLocked>()("VaultLocked", {}) {
  override get message() {
    return "the vault is locked"
  }
  get hint() {
    return "unlock it with its passphrase"
  }
}

export class AlreadyUnlocked extends Schema.TaggedError<AlreadyUnlocked>()("AlreadyUnlocked", {}) {
  override get message() {
    return "the vault is already unlocked"
  }
  get hint() {
    return "lock it first to unlock it again"
  }
}

/** Another process writes the vault file now. */
export class VaultBusy extends Schema.TaggedError<VaultBusy>()("VaultBusy", {}) {
  override get message() {
    return "another process is changing the vault"
  }
  get hint() {
    return "try again when it has ended; if none is running, remove the file of the vault's name that ends in .lock"
  }
}

export class WrongPassphrase extends Schema.TaggedError<WrongPassphrase>()("WrongPassphrase", {}) {
  override get message() {
    return "the passphrase is wrong"
  }
  get hint() {
    return "the passphrase of the vault is needed, not that of the mnemonic"
  }
}

/** A new passphrase does not fit: 8 code points to 1024 bytes after NFKD, in UTF-8. */
export class PassphraseRejected extends Schema.TaggedError<PassphraseRejected>()("PassphraseRejected", {
  reason: Schema.Literals(["short", "long", "encoding"])
}) {
  override get message() {
    const causes = { short: "is too short", long: "is too long", encoding: "is not valid UTF-8" }
    return `the new passphrase ${causes[this.reason]}`
  }
  get hint() {
    return "choose one of at least 8 characters and at most 1024 bytes"
  }
}

/** The vault file is damaged. `field` is where, by its name in vault.md; `file` for the file as a whole. */
export class VaultCorrupted extends Schema.TaggedError<VaultCorrupted>()("VaultCorrupted", { field: Schema.String }) {
  override get message() {
    return `the vault file is damaged (${this.field})`
  }
  get hint() {
    return "put a copy of the file back, or make the vault anew from its words with `alknet vault restore`"
  }
}

export class VaultVersionUnsupported extends Schema.TaggedError<VaultVersionUnsupported>()("VaultVersionUnsupported", {
  version: Schema.Number
}) {
  override get message() {
    return `the vault file has version ${this.version}, which this program does not know`
  }
  get hint() {
    return "use the newer program that wrote it"
  }
}

/** Others could read or replace a file that holds a secret, so it is not used (VAULT-R24). */
export class VaultInsecure extends Schema.TaggedError<VaultInsecure>()("VaultInsecure", {
  /** `mode`: group or others have rights. `owner`: not ours. `type`: no regular file. `directory`: others may write its folder. */
  reason: Schema.Literals(["mode", "owner", "type", "directory"]),
  /** Which file it is about; absent: the vault file. */
  subject: Schema.optionalKey(Schema.Literals(["vault file", "secret file"]))
}) {
  override get message() {
    const causes = {
      mode: "gives rights to group or others",
      owner: "belongs to another user",
      type: "is not a regular file",
      directory: "lies in a folder that group or others may write to"
    }
    return `the ${this.subject ?? "vault file"} ${causes[this.reason]}`
  }
  get hint() {
    const cures = {
      mode: "take the rights away with chmod 600",
      owner: "use a file of your own",
      type: "name the file itself, not a link, folder or pipe",
      directory: "take the right away with chmod go-w on the folder, or use another folder"
    }
    return cures[this.reason]
  }
}

/** The file system failed. Nothing was lost: the file is the whole old or the whole new one. */
export class VaultIo extends Schema.TaggedError<VaultIo>()("VaultIo", {
  /** What was being done: `open`, `read`, `lock`, `create`, `write`, `sync`, `publish`, `sync directory`, ... */
  step: Schema.String,
  /** The code of the operating system, such as `ENOSPC`. */
  code: Schema.String
}) {
  override get message() {
    return `a file could not be used (step ${this.step}: ${this.code})`
  }
  get hint() {
    return "look at the disk space, the rights and the health of the disk, then try again"
  }
}

export class MnemonicInvalid extends Schema.TaggedError<MnemonicInvalid>()("MnemonicInvalid", {
  /** `passphrase`: the mnemonic passphrase is longer than 256 bytes or not UTF-8. */
  reason: Schema.Literals(["count", "word", "checksum", "passphrase"]),
  /** Of an unknown word, from 1. */
  position: Schema.optionalKey(Schema.Number)
}) {
  override get message() {
    const sentences = {
      count: "the mnemonic does not have 12, 15, 18, 21 or 24 words",
      word: `word ${this.position} of the mnemonic is not in the English list`,
      checksum: "the words of the mnemonic do not belong together",
      passphrase: "the mnemonic passphrase is longer than 256 bytes or not valid UTF-8"
    }
    return sentences[this.reason]
  }
  get hint() {
    return this.reason === "passphrase"
      ? "use a shorter one"
      : "compare each word and their order with what was written down"
  }
}

export class InvalidPath extends Schema.TaggedError<InvalidPath>()("InvalidPath", {
  reason: Schema.Literals(["text", "index", "depth"])
}) {
  override get message() {
    const causes = {
      text: "is not of the form m/1'/2'",
      index: "has a number above 2147483647",
      depth: "has over 16 steps"
    }
    return `the derivation path ${causes[this.reason]}`
  }
  get hint() {
    return "write steps as /NUMBER', all hardened"
  }
}

export class InvalidKeyVersion extends Schema.TaggedError<InvalidKeyVersion>()("InvalidKeyVersion", {
  version: Schema.Number
}) {
  override get message() {
    return `${this.version} is not a key version that can be used here`
  }
  get hint() {
    return "a key version is a whole number from 2 to 2147483649; rotating never goes back to a lower one"
  }
}

export class InvalidIndex extends Schema.TaggedError<InvalidIndex>()("InvalidIndex", {
  /** `n` of a device, `index` of another role, `peer` of a pseudonym. */
  field: Schema.Literals(["n", "index", "peer"])
}) {
  override get message() {
    return this.field === "peer" ? "the peer's key is not 32 bytes long" : `the key ${this.field} is out of range`
  }
  get hint() {
    return this.field === "peer"
      ? "give the public key of the peer"
      : "use a whole number from 0 (devices: 1) to 2147483647"
  }
}

/** A sealed credential, or the name it was asked under, is not well formed. */
export class BlobInvalid extends Schema.TaggedError<BlobInvalid>()("BlobInvalid", { field: Schema.String }) {
  override get message() {
    return `the sealed credential is not well formed (${this.field})`
  }
  get hint() {
    return this.field === "name" || this.field === "purpose"
      ? "names use letters, digits and . _ / @ + : - (128 at most); purposes lower-case letters, digits and -"
      : "seal the credential again"
  }
}

/** One answer for a wrong key, changed data, another version, name or format: they cannot be told apart (VAULT-R43). */
export class DecryptFailed extends Schema.TaggedError<DecryptFailed>()("DecryptFailed", {}) {
  override get message() {
    return "the sealed credential does not open with this vault under this name"
  }
  get hint() {
    return "look whether the name and the vault are the ones it was sealed with, or seal it again"
  }
}

export class PlaintextTooLarge extends Schema.TaggedError<PlaintextTooLarge>()("PlaintextTooLarge", {
  /** In bytes. */
  limit: Schema.Number
}) {
  override get message() {
    return `the credential is longer than ${this.limit} bytes`
  }
  get hint() {
    return "keep large secrets in a file of their own and seal only their key"
  }
}

export type VaultError =
  | VaultAbsent
  | VaultExists
  | VaultLocked
  | AlreadyUnlocked
  | VaultBusy
  | WrongPassphrase
  | PassphraseRejected
  | VaultCorrupted
  | VaultVersionUnsupported
  | VaultInsecure
  | VaultIo
  | MnemonicInvalid
  | InvalidPath
  | InvalidKeyVersion
  | InvalidIndex
  | BlobInvalid
  | DecryptFailed
  | PlaintextTooLarge
