/**
 * What a check of `alknet doctor` says.
 */
export interface Finding {
  readonly check: string
  readonly state: "ok" | "warn" | "fail"
  readonly detail: string
  /** What to do; empty where there is nothing. */
  readonly advice: string
}

export const ok = (check: string, detail: string): Finding => ({ check, state: "ok", detail, advice: "" })
export const warn = (check: string, detail: string, advice: string): Finding => ({
  check,
  state: "warn",
  detail,
  advice
})
export const fail = (check: string, detail: string, advice: string): Finding => ({
  check,
  state: "fail",
  detail,
  advice
})

/** The code of a system error, for `detail`. */
export const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : String(error)
