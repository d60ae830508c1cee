import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Finding } from '../findings.ts'
import type { CheckPorts } from './checkers.ts'
import { Fault } from './fault.ts'
import { runTool } from './tools.ts'

/** 128 and a signal's number: what a shell says of a command that was killed, here for want of memory or time. */
const killedStatuses = new Set([137, 139, 134, 152, 159])

/** The profile's own script. Its output is for a person, and proves nothing. Throws `Fault`. */
export async function proveProgram(
  directory: string,
  script: string | null,
  ports: CheckPorts,
): Promise<Finding> {
  if (script === null) throw new Fault('RULE_MISSING')
  const file = path.join(tmpdir(), 'program')
  // Not on standard input, which is the commands' own.
  await writeFile(file, script, { mode: 0o600 })
  const end = await runTool(
    { program: '/bin/sh', arguments: [file], writes: true, environment: { VOLUMES: directory } },
    ports,
  )
  switch (end.kind) {
    case 'ended':
      ports.complain(end.output + end.complaint)
      if (killedStatuses.has(end.status)) throw new Fault('PROGRAM_KILLED')
      if (end.status !== 0) throw new Fault('PROGRAM_FAILED', { number: end.status })
      return { finding: 'PROGRAM_PASSED', volume: null, partition: null, number: null }
    case 'late':
      throw new Fault('OUT_OF_TIME')
    case 'flooded':
      throw new Fault('PROGRAM_FLOODED')
    case 'killed':
    case 'missing':
      throw new Fault('PROGRAM_KILLED')
  }
}
