import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import { COMMAND_LINE_MAX, parseCommandLine } from "../../../src/protocol/ssh/CommandLine.ts"

const words = (text: string) => Result.getOrUndefined(parseCommandLine(text))
const refusal = (text: string) => Result.getOrUndefined(Result.flip(parseCommandLine(text)))?.reason

it("a command line is split into words as a shell would, without being one", () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["ls", ["ls"]],
    ["  ls \t -l  ", ["ls", "-l"]],
    ["git-upload-pack '/srv/a b.git'", ["git-upload-pack", "/srv/a b.git"]],
    [`echo "a b" 'c;d' e\\ f ""`, ["echo", "a b", "c;d", "e f", ""]],
    [`echo a"b"'c'd`, ["echo", "abcd"]],
    [`echo "say \\"hi\\" \\\\ \\$HOME \\n"`, ["echo", 'say "hi" \\ $HOME \\n']],
    ["scp -t -- dir/file", ["scp", "-t", "--", "dir/file"]],
    ["env A=b c#d e~f g]", ["env", "A=b", "c#d", "e~f", "g]"]],
    ["echo '*' \\* '~' \\# '#' '{' \\~", ["echo", "*", "*", "~", "#", "#", "{", "~"]],
    ["rsync --server -vlogDtpre.iLsfxCIvu . /tmp/x", ["rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/tmp/x"]]
  ]
  for (const [text, expected] of cases) assert.deepStrictEqual(words(text), expected, text)
})

it("what only a shell could do is refused and never taken as text", () => {
  const lines = [
    "ls; id",
    "ls|id",
    "ls && id",
    "ls & id",
    "echo $HOME",
    'echo "$HOME"',
    "echo `id`",
    'echo "`id`"',
    "echo $(id)",
    "ls *.ts",
    "ls a?",
    "ls [ab]",
    "ls > out",
    "cat < in",
    "ls\nid",
    "ls \\\nid",
    "ls ~",
    "ls ~root",
    "# ls",
    "ls # id",
    "A=b ls",
    "! ls",
    "{ ls",
    "(ls)",
    "echo a\\\\$b"
  ]
  for (const line of lines) assert.strictEqual(refusal(line), "shell", line)
})

it("open quotes, nothing, NUL and a line that is too long are refused", () => {
  assert.strictEqual(refusal("echo 'a"), "quote")
  assert.strictEqual(refusal('echo "a'), "quote")
  assert.strictEqual(refusal("echo a\\"), "quote")
  for (const line of ["", "   ", "''", "'' ls"]) assert.strictEqual(refusal(line), "empty", line)
  assert.strictEqual(refusal("ls\0"), "characters")
  assert.strictEqual(refusal("a".repeat(COMMAND_LINE_MAX + 1)), "too long")
})
