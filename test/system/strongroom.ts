import { spawn } from 'node:child_process'
import path from 'node:path'
import { root } from '../../scripts/quickstart/provision.ts'
import { compiled } from '../support/compiled.ts'
import type { LocalSystem } from './system.ts'

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** `bin/strongroom …` to its end, whatever its exit code. */
export function strongroom(
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  return runToEnd(path.join(root, 'bin/strongroom'), args, variables)
}

export async function runToEnd(
  program: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...compiled, ...variables },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', part => {
    stdout += part
  })
  child.stderr.on('data', part => {
    stderr += part
  })
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', status => resolve(status ?? -1))
  })
  return { code, stdout, stderr }
}

/** What the command line needs to reach the API of `system`. */
export function apiVariables({ api, tokenFile }: LocalSystem): Record<string, string> {
  return { STRONGROOM_API: api.address, STRONGROOM_TOKEN_FILE: tokenFile }
}
