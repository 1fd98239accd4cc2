/**
 * `alknet ssh-config PEER`: what OpenSSH has to know to reach a peer: a Host block that holds the peer's host key.
 *
 * The key comes over a connection to the proven node, so nobody is ever asked whether it is right. OpenSSH gets it from
 * `KnownHostsCommand`; older clients (before 8.5) need the line in known_hosts, which is there as a comment.
 */
import { existsSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { failed, wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { Home } from "../Home.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { explainSsh, loadSsh, streamForSsh } from "../PeerSsh.ts"

/** The program as a shell finds it from anywhere: `bin/alknet` above the file that runs. */
const programPath = (): string | undefined => {
  let folder = dirname(resolve(process.argv[1] ?? ""))
  while (folder !== dirname(folder)) {
    const path = join(folder, "bin", "alknet")
    if (existsSync(path)) return path
    folder = dirname(folder)
  }
  return undefined
}

/** A word for the shell that OpenSSH starts; `%` is OpenSSH's own sign. */
const quoted = (word: string): string => {
  const plain = word.replaceAll("%", "%%")
  return /^[\w%+,./:@=-]+$/.test(word) ? plain : `'${plain.replaceAll("'", "'\\''")}'`
}

/** What OpenSSH takes as a name of a host, and nothing that is a pattern. */
const HOST_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

export const sshConfig = Command.make(
  "ssh-config",
  { peer: peerArgument, addresses: addressFlag },
  Effect.fn(function* ({ addresses, peer }) {
    const output = yield* Output
    const home = yield* Home
    const { passphraseFile } = yield* settings
    if (passphraseFile === "-") return yield* wrongUsage("OpenSSH cannot give a passphrase on standard input")
    const program = programPath()
    if (program === undefined) {
      return yield* failed("NO_PROGRAM", "the command alknet is not found beside this program", "install it again")
    }
    const { hostKeyOf } = yield* loadSsh
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const host = HOST_NAME.test(peer) && target.name === peer ? peer : target.nodeId
      const alias = `alknet-${target.nodeId}`
      const { connection, stream } = yield* streamForSsh(target)
      const key = yield* Effect.catch(hostKeyOf(stream), (error) =>
        Effect.flatMap(explainSsh(error, target, connection), Effect.fail)
      )
      const proxy = [
        program,
        "--home",
        home.directory,
        ...(passphraseFile === undefined ? [] : ["--passphrase-file", resolve(passphraseFile)]),
        ...addresses.flatMap((address) => ["--addr", address]),
        "proxy",
        host === peer ? peer : target.nodeId,
        "alknet/ssh"
      ]
      const knownHosts = `${alias} ${key}`
      const block = [
        `Host ${host}`,
        `  HostKeyAlias ${alias}`,
        "  HostKeyAlgorithms ssh-ed25519",
        "  StrictHostKeyChecking yes",
        `  KnownHostsCommand /bin/echo ${knownHosts}`,
        `  ProxyCommand ${proxy.map(quoted).join(" ")}`,
        ""
      ]
      yield* output.answer({ host, config: block.join("\n"), knownHosts }, [
        ...block.slice(0, -1),
        `# known_hosts: ${knownHosts}`
      ])
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("Print what plain ssh, scp, sftp and rsync need to reach a peer"),
  Command.withExamples([{ command: "alknet ssh-config desk >> ~/.ssh/config", description: "then: ssh desk" }])
)
