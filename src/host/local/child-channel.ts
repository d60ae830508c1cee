import { Duplex, type Readable, type Writable } from 'node:stream'

/** Held for a slower reader before the child has to wait: a volume passes here in frames of a mebibyte. */
const heldBytes = 1024 * 1024

/**
 * A child's standard output and input as one stream. What is written to a child that has gone is dropped, and does not
 * take away what it had said before (`Duplex.from` would: it ends both directions when one breaks).
 */
export function childChannel(stdout: Readable, stdin: Writable): Duplex {
  const channel = new Duplex({
    highWaterMark: heldBytes,
    read() {
      stdout.resume()
    },
    write(part, _encoding, done) {
      stdin.write(part, () => done())
    },
    final(done) {
      stdin.end(() => done())
    },
    destroy(error, done) {
      stdout.destroy()
      stdin.destroy()
      done(error)
    },
  })
  channel.on('error', () => {})
  stdin.on('error', () => {})
  stdout.on('data', part => {
    if (!channel.push(part)) stdout.pause()
  })
  stdout.once('end', () => channel.push(null))
  stdout.once('error', error => channel.destroy(error))
  return channel
}
