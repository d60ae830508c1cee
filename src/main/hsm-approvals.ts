import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Verdict } from '../hsm/approvals.ts'
import { decideRelease, listPending, type ShownRelease } from '../hsm/control.ts'
import { askYes } from './ask.ts'
import type { Answer } from './command-line.ts'
import { askService } from './hsm-service.ts'

/* `strongroom hsm pending`, `approve`, `deny` and `attend`: a person decides about releases that wait. */

const lookMilliseconds = 1_000
const dialogs: Readonly<Record<string, (text: string) => readonly string[]>> = {
  zenity: text => ['--question', '--no-markup', '--default-cancel', '--title=Strongroom', `--text=${text}`],
  kdialog: text => ['--title', 'Strongroom', '--warningyesno', text],
}

function waiting(home: string, signal: AbortSignal): Promise<readonly ShownRelease[]> {
  return askService(home, listPending, undefined, signal)
}

export async function pending(home: string, signal: AbortSignal): Promise<Answer> {
  const found = await waiting(home, signal)
  const text = found.flatMap(release => [release.code, ...described(release).map(line => `  ${line}`)])
  return { result: found, text: found.length === 0 ? ['nothing waits'] : text }
}

export async function decide(
  home: string,
  code: string,
  verdict: Verdict,
  signal: AbortSignal,
): Promise<Answer> {
  await askService(home, decideRelease, { code, verdict }, signal)
  return { result: { code, verdict }, text: [`${verdict}  ${code}`] }
}

/** Asks about each release once, as it comes. */
export async function attend(home: string, dialog: string | null, signal: AbortSignal): Promise<Answer> {
  const ask = dialog === null ? onTerminal : inDialog(dialog)
  // Without anybody to ask, each would be denied for good.
  if (dialog === null && !process.stdin.isTTY)
    throw new BaseError('FIELD_INVALID', 'no terminal to ask on', {
      hint: 'run the command on a terminal, or ask in a window: --dialog zenity or kdialog',
    })
  const asked = new Set<string>()
  console.error('waiting for releases; ^C ends')
  while (!signal.aborted) {
    for (const release of await waiting(home, signal)) {
      // A job may ask for one epoch after another, or once more for the same.
      const question = `${release.job} ${release.epoch} ${release.asked.toISOString()}`
      if (asked.has(question)) continue
      asked.add(question)
      const verdict = (await ask(release, signal)) ? 'approved' : 'denied'
      console.error(await said(home, release.code, verdict, signal))
    }
    await delay(lookMilliseconds, undefined, { signal }).catch(() => {})
  }
  return { result: { asked: asked.size }, text: [] }
}

/** One that has expired while she thought ends nothing but itself. */
async function said(home: string, code: string, verdict: Verdict, signal: AbortSignal): Promise<string> {
  try {
    return (await decide(home, code, verdict, signal)).text.join('\n')
  } catch (error) {
    if (!(error instanceof CodedError && error.code === 'HSM_APPROVAL_MISSING')) throw error
    return `too late  ${code}: it no longer waits`
  }
}

async function onTerminal(release: ShownRelease): Promise<boolean> {
  console.error(`\n${described(release).join('\n')}`)
  return askYes(questionOf(release))
}

function inDialog(program: string): (release: ShownRelease, signal: AbortSignal) => Promise<boolean> {
  const words = dialogs[program]
  if (words === undefined)
    throw new BaseError(
      'FIELD_INVALID',
      `--dialog is ${Object.keys(dialogs).join(' or ')}, not '${printable(program)}'`,
    )
  return async (release, signal) => {
    const text = [...described(release), '', questionOf(release)].join('\n')
    try {
      await promisify(execFile)(program, [...words(text)], { signal })
      return true
    } catch (cause) {
      // Both end with status 1 for a no.
      if (cause instanceof Error && 'code' in cause && cause.code === 1) return false
      throw new BaseError('FIELD_INVALID', `${program} could not ask`, { cause })
    }
  }
}

function questionOf({ call, code }: ShownRelease): string {
  return call === 'stock'
    ? 'Release? Stock Qubes shows no code: yes only if this was started just now, by whom you know.'
    : `Release? The orderer must see ${code}.`
}

function described(release: ShownRelease): readonly string[] {
  const { profile, purpose, call, epoch, initiator, job, asked, expires, released } = release
  return [
    `${purpose} of ${profile}, epoch ${epoch}, ${call === 'stock' ? 'for stock Qubes in' : 'ordered by'} ${initiator}`,
    `job ${job}, asked at ${asked.toISOString()}, denied without an answer at ${expires.toISOString()}`,
    released.length === 0
      ? 'never released before'
      : `released before at ${released.map(time => time.toISOString()).join(', ')}`,
  ]
}
