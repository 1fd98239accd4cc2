/** node:http2 over TLS 1.3 with client certificates; every request is a POST on a new HTTP/2 stream. */
import { once } from "node:events"
import http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { type Adapter, CHUNK, ECHO, FRAMED, FramedClient, HOST, ServerStream, UPLOAD, withMode } from "../Adapter.ts"
import { makeCertificate } from "../certificates.ts"

const WINDOW = 16 << 20
const CALL = 0x43

export const adapter: Adapter = {
  serve: async () => {
    const { cert, key } = await makeCertificate()
    const server = http2.createSecureServer({
      cert,
      key,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      settings: { initialWindowSize: WINDOW, maxConcurrentStreams: 1000 }
    })
    server.on("session", (session) => {
      session.setLocalWindowSize(WINDOW)
      session.on("error", () => {})
    })
    server.on("stream", (stream: http2.ServerHttp2Stream) => {
      stream.respond({ ":status": 200 })
      stream.on("error", () => {})
      const side = new ServerStream(
        (bytes) => stream.write(bytes),
        (bytes) => stream.end(bytes)
      )
      let first = true
      let calling = false
      const body: Array<Buffer> = []
      stream.on("data", (chunk: Buffer) => {
        if (first) calling = chunk[0] === CALL
        if (calling) body.push(first ? chunk.subarray(1) : chunk)
        else side.data(chunk)
        first = false
      })
      stream.on("end", () => {
        if (!calling) return side.finish()
        const { text } = JSON.parse(Buffer.concat(body).toString()) as { text: string }
        stream.end(JSON.stringify({ text }))
      })
    })
    server.listen(0, HOST)
    await once(server, "listening")
    return { info: { port: (server.address() as AddressInfo).port } }
  },
  connect: async (info: { readonly port: number }) => {
    const { cert, key } = await makeCertificate()
    const session = http2.connect(`https://${HOST}:${info.port}`, {
      cert,
      key,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      settings: { initialWindowSize: WINDOW }
    })
    session.on("error", () => {})
    await once(session, "connect")
    session.setLocalWindowSize(WINDOW)
    const post = () => session.request({ ":method": "POST", ":path": "/" }, { endStream: false })
    const collect = (stream: http2.ClientHttp2Stream) =>
      new Promise<Buffer>((resolve, reject) => {
        const parts: Array<Buffer> = []
        stream.on("data", (part: Buffer) => parts.push(part))
        stream.on("end", () => resolve(Buffer.concat(parts)))
        stream.on("error", reject)
      })
    return {
      upload: async (bytes) => {
        const stream = post()
        const answer = collect(stream)
        stream.write(Buffer.of(UPLOAD))
        for (let left = bytes; left > 0; left -= CHUNK.length) {
          if (!stream.write(left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left))) await once(stream, "drain")
        }
        stream.end()
        return Number((await answer).readBigUInt64BE())
      },
      echo: async (bytes) => {
        const stream = post()
        const answer = collect(stream)
        stream.end(withMode(ECHO, bytes))
        return (await answer).length
      },
      openFramed: async () => {
        const stream = post()
        const client = new FramedClient((bytes) => stream.write(bytes))
        stream.write(Buffer.of(FRAMED))
        stream.on("data", (chunk: Buffer) => client.data(chunk))
        return (bytes) => client.call(bytes)
      },
      call: async (text) => {
        const stream = post()
        const answer = collect(stream)
        stream.end(withMode(CALL, Buffer.from(JSON.stringify({ text }))))
        return JSON.parse((await answer).toString())
      },
      close: async () => session.destroy()
    }
  }
}
