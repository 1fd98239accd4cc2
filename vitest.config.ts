import { defineConfig } from "vitest/config"

/** One group a kind of test, so that each can be run alone: `npx vitest run --project unit`. Every other test is unit. */
const project = (name: string, include: Array<string>, exclude: Array<string> = []) => ({
  extends: true as const,
  test: { name, include, exclude }
})

const groups = [
  "house",
  "conformance",
  "hostile",
  "crash",
  "secrecy",
  "interop",
  "newer-debian",
  "openssh-server",
  "cli",
  "docs",
  "package"
]

export default defineConfig({
  test: {
    // Two cores: a third worker only makes the timings of the others worse.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ["default"],
    execArgv: ["--disable-warning=ExperimentalWarning", "--expose-gc"],
    projects: [
      ...groups.map((group) => project(group, [`test/${group}/**/*.test.ts`])),
      project(
        "unit",
        ["test/**/*.test.ts"],
        groups.map((group) => `test/${group}/**`)
      )
    ]
  }
})
