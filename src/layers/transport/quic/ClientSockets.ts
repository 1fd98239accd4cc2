/**
 * The sockets that dials go out from: one per address family, made when it is first needed and shared by all dials.
 *
 * A socket without connections does not keep the process alive.
 */
import { isIPv6 } from "node:net"
import { Driver, type DriverOptions } from "./Driver.ts"

type Waiting = (driver: Driver | undefined, failedCode: string) => void

interface Slot {
  readonly driver: Driver
  waiting: Array<Waiting> | undefined
}

export class ClientSockets {
  readonly #options: DriverOptions
  readonly #slots = new Map<"0.0.0.0" | "::", Slot>()

  constructor(options: DriverOptions) {
    this.#options = options
  }

  /** The driver for a remote address. `done` may be called at once. */
  get(remoteHost: string, done: Waiting): void {
    const any = isIPv6(remoteHost) ? "::" : "0.0.0.0"
    const slot = this.#slots.get(any)
    if (slot !== undefined) {
      if (slot.waiting === undefined) {
        done(slot.driver, "")
        return
      }
      slot.waiting.push(done)
      return
    }
    const fresh: Slot = { driver: new Driver(this.#options), waiting: [done] }
    this.#slots.set(any, fresh)
    fresh.driver.bind({ host: any, port: 0 }, (failedCode) => {
      if (failedCode !== undefined) this.#slots.delete(any)
      else fresh.driver.holdWhileConnected()
      const waiting = fresh.waiting ?? []
      fresh.waiting = undefined
      for (const answer of waiting) answer(failedCode === undefined ? fresh.driver : undefined, failedCode ?? "")
    })
  }

  /** Ends every connection and closes the sockets. */
  close(code: number, done: () => void): void {
    const slots = [...this.#slots.values()]
    this.#slots.clear()
    let left = slots.length
    if (left === 0) {
      done()
      return
    }
    const closed = () => {
      left--
      if (left === 0) done()
    }
    for (const { driver } of slots) driver.close(code, "", closed)
  }
}
