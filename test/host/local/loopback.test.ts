import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Loopback, openLoopback } from '../../../src/host/local/loopback.ts'
import { type Listener, listenSocket } from '../../../src/host/local/socket.ts'

let directory: string
let inside: Set<Socket>
let listener: Listener
let loopback: Loopback
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'loopback-'))
  inside = new Set()
  const file = path.join(directory, 'api.sock')
  listener = await listenSocket(file, socket => {
    inside.add(socket)
    socket.once('close', () => inside.delete(socket))
    socket.pipe(socket)
  })
  loopback = await openLoopback(file, 0)
})
afterEach(async () => {
  loopback.close()
  await listener.close()
  await rm(directory, { recursive: true })
})

async function ask(): Promise<{ socket: Socket; answer: string }> {
  const socket = connect(loopback.port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('hello')
  const answer = await new Promise<string>(resolve => {
    socket.once('data', part => resolve(String(part)))
    socket.once('close', () => resolve(''))
  })
  return { socket, answer }
}

test('passes both directions on', async () => {
  const { socket, answer } = await ask()
  expect(answer).toBe('hello')
  socket.destroy()
})

test('takes only so many at once, and the next when one has gone', async () => {
  const flood = await Promise.all(Array.from({ length: 200 }, ask))
  const taken = flood.filter(({ answer }) => answer === 'hello')
  expect(taken).toHaveLength(128)
  expect(inside.size).toBe(128)
  taken[0]?.socket.destroy()
  let again = await ask()
  while (again.answer === '') again = await ask()
  expect(again.answer).toBe('hello')
  for (const { socket } of [...flood, again]) socket.destroy()
})
