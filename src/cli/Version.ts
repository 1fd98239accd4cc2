/**
 * The version of this program, from its manifest: two folders up from here, in the sources and in the bundle.
 */
import { readFileSync } from "node:fs"

/** The manifest of the package. */
export const manifestUrl = new URL("../../package.json", import.meta.url)

const manifest: { readonly version: string } = JSON.parse(readFileSync(manifestUrl, "utf8"))

export const version = manifest.version
