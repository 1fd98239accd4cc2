/**
 * The reporter at the end of `npm test`: how long each group took, what was skipped, and the counts of the whole run.
 *
 * The counts go to the file that ALKNET_CLOSING_FILE names, as `passed failed skipped`, so that scripts/test.sh can add its
 * own checks and print one closing line. Without that variable the line is printed here.
 *
 * With CI=true a skipped test fails the run: a foreign program that is missing must not go unnoticed.
 */
import { writeFileSync } from "node:fs"
import type { Reporter, TestModule } from "vitest/node"

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<unknown>): void {
    const groups = new Map<string, { files: number; tests: number; millis: number }>()
    const skippedNames: Array<string> = []
    let passed = 0
    // An error outside a test, or a file that does not load, is a failure of its own.
    let failed = unhandledErrors.length
    let skipped = 0
    for (const module of modules) {
      const name = module.project.name
      const group = groups.get(name) ?? { files: 0, tests: 0, millis: 0 }
      groups.set(name, group)
      group.files += 1
      group.millis += module.diagnostic().duration
      let failedHere = 0
      for (const test of module.children.allTests()) {
        group.tests += 1
        const state = test.result().state
        if (state === "passed") passed += 1
        else if (state === "failed") failedHere += 1
        else {
          skipped += 1
          skippedNames.push(`${module.relativeModuleId}: ${test.fullName}`)
        }
      }
      if (module.state() === "failed" && failedHere === 0) failedHere = 1
      failed += failedHere
    }
    for (const name of skippedNames) console.log(`skipped  ${name}`)
    for (const [name, group] of groups) {
      const seconds = (group.millis / 1000).toFixed(1).padStart(7)
      console.log(`${name.padEnd(12)} ${String(group.tests).padStart(5)} tests in ${group.files} files ${seconds} s`)
    }
    if (process.env["CI"] === "true" && skipped > 0) {
      console.log(`CI=true: ${skipped} skipped tests count as a failure`)
      process.exitCode = 1
    }
    const file = process.env["ALKNET_CLOSING_FILE"]
    if (file === undefined) console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
    else writeFileSync(file, `${passed} ${failed} ${skipped}\n`)
  }
}
