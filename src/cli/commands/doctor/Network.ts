/**
 * Checks of the network: can the ports be bound, do datagrams arrive, is there IPv6.
 */
import { createSocket } from "node:dgram"
import { createServer } from "node:net"
import { networkInterfaces } from "node:os"
import { Effect } from "effect"
import { formatSocketAddress, type SocketAddress } from "../../../protocol/SocketAddress.ts"
import { codeOf, type Finding, fail, ok, warn } from "./Finding.ts"

const bindUdp = ({ host, port }: SocketAddress): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", ipv6Only: host.includes(":") })
    socket.once("error", (error) => {
      socket.close()
      resume(Effect.fail(codeOf(error)))
    })
    socket.bind({ address: host, port, exclusive: true }, () => socket.close(() => resume(Effect.void)))
  })

const bindTcp = ({ host, port }: SocketAddress): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.once("error", (error) => resume(Effect.fail(codeOf(error))))
    server.listen({ host, port, exclusive: true, ipv6Only: host.includes(":") }, () =>
      server.close(() => resume(Effect.void))
    )
  })

const adviceFor = (code: string): string => {
  if (code === "EADDRINUSE") return "another program uses it; choose another port with alknet config set listen"
  if (code === "EACCES") return "ports below 1024 need rights; choose a higher one"
  return "choose an address of this machine with alknet config set listen"
}

/** Whether a node could listen at this address. */
export const portFree = (address: SocketAddress): Effect.Effect<Finding> => {
  const check = `port ${formatSocketAddress(address)}`
  const both = Effect.andThen(
    Effect.mapError(bindUdp(address), (code) => ({ code, carrier: "UDP" })),
    Effect.mapError(bindTcp(address), (code) => ({ code, carrier: "TCP" }))
  )
  return both.pipe(
    Effect.as(ok(check, "free, UDP and TCP")),
    Effect.catch(({ carrier, code }) => Effect.succeed(fail(check, `${carrier}: ${code}`, adviceFor(code))))
  )
}

/** Whether a datagram that this machine sends to itself arrives. */
const datagram = (host: string): Effect.Effect<void, string> =>
  Effect.callback<void, string>((resume) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4")
    const settle = (outcome: Effect.Effect<void, string>) => {
      socket.close()
      resume(outcome)
    }
    socket.once("error", (error) => settle(Effect.fail(codeOf(error))))
    socket.once("message", () => settle(Effect.void))
    socket.bind(0, host, () => socket.send("alknet", socket.address().port, host))
    return Effect.sync(() => socket.close())
  }).pipe(Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.fail("no answer") }))

const udp: Effect.Effect<Finding> = datagram("127.0.0.1").pipe(
  Effect.as(ok("udp", "datagrams arrive on this machine")),
  Effect.catch((code) =>
    Effect.succeed(fail("udp", code, "a firewall of this machine blocks UDP; QUIC cannot work, TLS can"))
  )
)

const hasPublicIpv6 = (): boolean =>
  Object.values(networkInterfaces())
    .flatMap((infos) => infos ?? [])
    .some(
      ({ address, family, internal }) => family === "IPv6" && !internal && !address.toLowerCase().startsWith("fe80")
    )

const ipv6: Effect.Effect<Finding> = datagram("::1").pipe(
  Effect.map(() =>
    hasPublicIpv6()
      ? ok("ipv6", "available")
      : warn("ipv6", "works on this machine only", "fine, unless a peer has IPv6 only; ask the provider for it")
  ),
  Effect.catch((code) =>
    Effect.succeed(
      warn("ipv6", code, "the machine has no IPv6; listen on 0.0.0.0:4433 only: alknet config set listen 0.0.0.0:4433")
    )
  )
)

export const network: ReadonlyArray<Effect.Effect<Finding>> = [udp, ipv6]
