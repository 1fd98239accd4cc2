/**
 * `alknet ssh PEER [COMMAND…]`: a shell or a program of a peer, with this terminal.
 */
import { userInfo } from "node:os"
import { Effect } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { layerOpened } from "../Opened.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { explainSsh, loadSsh, streamForSsh } from "../PeerSsh.ts"

export const ssh = Command.make(
  "ssh",
  {
    peer: peerArgument,
    command: Argument.String("command").pipe(
      Argument.variadic(),
      Argument.withDescription("What to run; without it the login shell. Options of it come after --")
    ),
    tty: Flag.Boolean("tty").pipe(
      Flag.withAlias("t"),
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("A terminal for a command too")
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, command, peer, tty }) {
    const { passphraseFile } = yield* settings
    if (passphraseFile === "-") {
      return yield* wrongUsage("standard input is what is sent; the passphrase cannot come from it too")
    }
    const { connectSsh, runRemote } = yield* loadSsh
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const { connection, stream } = yield* streamForSsh(target)
      const line = command.length === 0 ? undefined : command.join(" ")
      const hasTerminal = tty || (line === undefined && process.stdin.isTTY === true)
      yield* Effect.flatMap(connectSsh(stream, userInfo().username), (client) =>
        runRemote(client, { command: line, hasTerminal })
      ).pipe(
        Effect.catchTag("SshClientError", (error) => Effect.flatMap(explainSsh(error, target, connection), Effect.fail))
      )
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("A shell or a program of a peer; its exit status is passed on, ~. ends a shell"),
  Command.withExamples([
    { command: "alknet ssh desk", description: "a shell" },
    { command: "alknet ssh desk -- tail -f /var/log/syslog", description: "a program" },
    { command: "alknet ssh -t desk htop", description: "a program on a terminal" }
  ])
)
