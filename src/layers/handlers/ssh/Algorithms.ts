/**
 * What this server agrees to: what a current OpenSSH takes without a warning. Nothing with SHA-1, CBC or small groups, no
 * compression. Strict key exchange is always offered by ssh2.
 */
import type { Algorithms } from "ssh2"

export const ALGORITHMS: Algorithms = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512"
  ],
  serverHostKey: ["ssh-ed25519"],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr"
  ],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
  compress: ["none"]
}
