/**
 * The version of this program, from its manifest: two folders up from here, in the sources and in the bundle.
 */
import { readFileSync } from "node:fs"

const manifest: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8")
)

export const version = manifest.version
