/**
 * How `up` serves SSH: the host key of the vault, and what `[ssh]` of the config says.
 */
import { join } from "node:path"
import { Effect } from "effect"
import type { SshOptions } from "../layers/Node.ts"
import type { Config } from "../protocol/Config.ts"
import { parseSocketAddress } from "../protocol/SocketAddress.ts"
import { Vault } from "../services/Vault.ts"
import { Home } from "./Home.ts"

/** The vault must be open; the key is wiped when the scope closes. */
export const sshToServe = Effect.fnUntraced(function* ({ ssh }: Config) {
  const home = yield* Home
  const vault = yield* Vault
  const { listen, record, shell } = ssh ?? {}
  const searchPath = process.env["PATH"]
  const options: SshOptions = {
    hostKey: yield* vault.key({ _tag: "SshHost" }),
    ...(listen === undefined ? {} : { listen: [yield* Effect.fromResult(parseSocketAddress(listen))] }),
    ...(record === true ? { recordings: join(home.directory, "recordings") } : {}),
    ...(shell === undefined ? {} : { shell }),
    ...(searchPath === undefined ? {} : { searchPath })
  }
  return options
})
