/**
 * Presets: names for sets of scopes that people give (identity.md section 7).
 *
 * They are expanded when a peer, key or grant is written; the store never holds a preset's name, so that changing one here
 * does not change what existing peers may do. Shell, command execution and forwarding run with the rights of the node's
 * user: only `admin` has them.
 */

/** Plain scopes by preset. */
export const PRESETS = {
  admin: ["*"],
  user: [
    "call:*",
    "msg:send",
    "fs:read",
    "fs:list",
    "fs:write",
    "sftp:read",
    "sftp:write",
    "git:read:*",
    "git:write:*"
  ],
  guest: ["msg:send", "fs:read"]
} as const satisfies Readonly<Record<string, ReadonlyArray<string>>>

export type PresetName = keyof typeof PRESETS

export const isPresetName = (name: string): name is PresetName => Object.hasOwn(PRESETS, name)

/** The scopes of a preset and further ones, each once; without a preset the further ones alone. */
export const expandScopes = (
  preset: PresetName | undefined,
  further: ReadonlyArray<string> = []
): ReadonlyArray<string> => [...new Set([...(preset === undefined ? [] : PRESETS[preset]), ...further])]
