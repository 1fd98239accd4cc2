/**
 * The tree of commands. This is the one place that knows them all.
 */
import { Effect } from "effect"
import { Argument, Command } from "effect/cli"
import { call } from "./commands/Call.ts"
import { codegen } from "./commands/Codegen.ts"
import { config } from "./commands/Config.ts"
import { doctor } from "./commands/Doctor.ts"
import { forward } from "./commands/Forward.ts"
import { id } from "./commands/Id.ts"
import { invite } from "./commands/Invite.ts"
import { join } from "./commands/Join.ts"
import { keys } from "./commands/Keys.ts"
import { lock } from "./commands/Lock.ts"
import { ops } from "./commands/Ops.ts"
import { peers } from "./commands/Peers.ts"
import { ping } from "./commands/Ping.ts"
import { proxy } from "./commands/Proxy.ts"
import { serveOps } from "./commands/ServeOps.ts"
import { socks } from "./commands/Socks.ts"
import { ssh } from "./commands/Ssh.ts"
import { sshConfig } from "./commands/SshConfig.ts"
import { status } from "./commands/Status.ts"
import { unlock } from "./commands/Unlock.ts"
import { up } from "./commands/Up.ts"
import { vault } from "./commands/Vault.ts"
import { globalFlags } from "./Globals.ts"
import { Home } from "./Home.ts"
import { Output } from "./Output.ts"

const help = Command.make(
  "help",
  { command: Argument.String("command").pipe(Argument.variadic()) },
  Effect.fn(function* ({ command }) {
    // A name that is none is told like one that was typed as a command.
    yield* again(isCommand(whole(), command) ? [...command, "--help"] : command)
  })
).pipe(
  Command.withDescription("Show help for a command"),
  Command.withExamples([{ command: "alknet help vault create", description: "the same as alknet vault create --help" }])
)

const completions = Command.make(
  "completions",
  { shell: Argument.Literals("shell", ["bash", "zsh", "fish"]) },
  Effect.fn(function* ({ shell }) {
    yield* again(["--completions", shell])
  })
).pipe(
  Command.withDescription("Print a completion script for a shell"),
  Command.withExamples([
    { command: "source <(alknet completions bash)", description: "for this bash" },
    { command: "alknet completions fish > ~/.config/fish/completions/alknet.fish", description: "for fish" }
  ])
)

const isCommand = (parent: Command.Command.Any, path: ReadonlyArray<string>): boolean => {
  const [name, ...rest] = path
  if (name === undefined) return true
  const child = parent.subcommands.flatMap(({ commands }) => commands).find((one) => one.name === name)
  return child !== undefined && isCommand(child, rest)
}

/** The whole program; `help` and `completions` run it again with what they stand for. */
export const program = Command.make("alknet").pipe(
  Command.withDescription("One node, one port, many protocols: reach your own machines by key"),
  Command.withExamples([
    { command: "alknet up", description: "run a node; makes its key on first use" },
    { command: "alknet invite --role user", description: "let another node in, with one text" },
    { command: "alknet call desk services/list", description: "call an operation of a peer" }
  ]),
  Command.withSubcommands([
    { group: "Node", commands: [up, serveOps, id, status, unlock, lock, vault, config] },
    { group: "Access", commands: [invite, join, peers, keys] },
    { group: "Peers", commands: [call, ops, codegen, ping, ssh, sshConfig, proxy, forward, socks] },
    { group: "Help", commands: [doctor, help, completions] }
  ]),
  Command.provide(Output.layer),
  Command.provide(Home.layer),
  Command.withGlobalFlags(globalFlags)
)

const whole = (): Command.Command.Any => program

const again = (line: ReadonlyArray<string>): Effect.Effect<void, unknown, Command.Environment> =>
  Command.runWith(program, { version: "" })(line)
