import { readdirSync, readFileSync } from 'node:fs'

/** Kills the processes of tokens that this process has started, as a module that crashes does. Gives their number. */
export function killTokenHosts(): number {
  const hosts = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => isOwnHost(pid))
  for (const pid of hosts) process.kill(Number(pid), 'SIGSEGV')
  return hosts.length
}

function isOwnHost(pid: string): boolean {
  try {
    const [, parent] = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return (
      parent === String(process.pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('token-host.ts')
    )
  } catch {
    return false // it ended meanwhile
  }
}
