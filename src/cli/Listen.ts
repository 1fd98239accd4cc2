/**
 * Where a node listens when neither flag nor config says otherwise.
 */
import { networkInterfaces } from "node:os"

/** Every address of the machine, port 4433; IPv6 only where the machine has it. */
export const defaultListen = (): ReadonlyArray<string> => {
  const infos = Object.values(networkInterfaces()).flatMap((one) => one ?? [])
  return infos.some(({ family }) => family === "IPv6") ? ["0.0.0.0:4433", "[::]:4433"] : ["0.0.0.0:4433"]
}
