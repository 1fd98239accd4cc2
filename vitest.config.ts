import { defineConfig } from "vitest/config"

/** One group a kind of test, so that each can be run alone: `npx vitest run --project unit`. */
const project = (name: string, include: Array<string>, exclude: Array<string> = []) => ({
  extends: true as const,
  test: { name, include, exclude }
})

export default defineConfig({
  test: {
    // Two cores: a third worker only makes the timings of the others worse.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ["default"],
    execArgv: ["--disable-warning=ExperimentalWarning", "--expose-gc"],
    projects: [
      project("house", ["test/house/**/*.test.ts"]),
      project(
        "unit",
        ["test/**/*.test.ts"],
        ["test/house/**", "test/conformance/**", "test/cli/**", "test/interop/**", "test/docs/**", "test/package/**"]
      ),
      project("conformance", ["test/conformance/**/*.test.ts"]),
      project("cli", ["test/cli/**/*.test.ts"]),
      project("docs", ["test/docs/**/*.test.ts"]),
      project("package", ["test/package/**/*.test.ts"]),
      project("interop", ["test/interop/**/*.test.ts"])
    ]
  }
})
