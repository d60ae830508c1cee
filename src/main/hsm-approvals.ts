import { setTimeout as delay } from 'node:timers/promises'
import { BaseError } from '../base/base-errors.ts'
import { CodedError } from '../base/errors.ts'
import { decideRelease, listPending, type ShownRelease } from '../hsm/control.ts'
import type { Said } from '../hsm/verdicts.ts'
import type { Answer } from './command-line.ts'
import { type Asker, inDialog, onTerminal } from './hsm-asking.ts'
import { askService } from './hsm-service.ts'

/* `strongroom hsm pending`, `approve`, `deny` and `attend`: a person decides about releases that wait. */

/** The service logs in to the token, perhaps behind another who does. */
const pinTimeoutMilliseconds = 60_000
const lookMilliseconds = 1_000

function waiting(home: string, signal: AbortSignal): Promise<readonly ShownRelease[]> {
  return askService(home, listPending, undefined, signal)
}

export async function pending(home: string, signal: AbortSignal): Promise<Answer> {
  const found = await waiting(home, signal)
  const text = found.flatMap(release => [release.code, ...described(release).map(line => `  ${line}`)])
  return { result: found, text: found.length === 0 ? ['nothing waits'] : text }
}

/** Asks for the PIN where the release wants it. Without a terminal none is given, and the service says that it wants one. */
export async function approve(home: string, code: string, signal: AbortSignal): Promise<Answer> {
  const found = (await waiting(home, signal)).find(release => release.code === code.toLowerCase())
  const pin = found?.wantsPin === true ? await onTerminal.pin(signal) : null
  return await decide(home, { code, verdict: 'approved', pin }, signal)
}

export function deny(home: string, code: string, signal: AbortSignal): Promise<Answer> {
  return decide(home, { code, verdict: 'denied', pin: null }, signal)
}

/** Ends the PIN. */
async function decide(home: string, said: Said, signal: AbortSignal): Promise<Answer> {
  using pin = said.pin
  const { code, verdict } = said
  await askService(home, decideRelease, said, signal, pin === null ? undefined : pinTimeoutMilliseconds)
  return { result: { code, verdict }, text: [`${verdict}  ${code}`] }
}

/** Asks about each release once, as it comes, and again where the PIN that she gave was not taken. */
export async function attend(home: string, dialog: string | null, signal: AbortSignal): Promise<Answer> {
  const asker = dialog === null ? onTerminal : inDialog(dialog)
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
      const { text, isOpen } = await answered(home, release, asker, signal)
      console.error(text)
      if (isOpen) asked.delete(question)
    }
    await delay(lookMilliseconds, undefined, { signal }).catch(() => {})
  }
  return { result: { asked: asked.size }, text: [] }
}

/** `isOpen`: her yes did not count, and she is asked again if it still waits. One that has expired while she thought ends nothing. */
async function answered(
  home: string,
  release: ShownRelease,
  asker: Asker,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly isOpen: boolean }> {
  const { code, wantsPin } = release
  try {
    const isYes = await asker.yes(described(release), questionOf(release), signal)
    const pin = isYes && wantsPin ? await asker.pin(signal) : null
    const { text } = await decide(home, { code, verdict: isYes ? 'approved' : 'denied', pin }, signal)
    return { text: text.join('\n'), isOpen: false }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    if (error.code === 'HSM_APPROVAL_MISSING')
      return { text: `too late  ${code}: it no longer waits`, isOpen: false }
    if (!wantsPin || !error.code.startsWith('HSM_')) throw error
    return { text: `${error.code}  ${code}: ${error.message}`, isOpen: true }
  }
}

function questionOf({ call, code }: ShownRelease): string {
  return call === 'stock'
    ? 'Release? Stock Qubes shows no code: yes only if this was started just now, by whom you know.'
    : `Release? The orderer must see ${code}.`
}

function described(release: ShownRelease): readonly string[] {
  const { profile, purpose, call, epoch, initiator, job, asked, expires, released, wantsPin } = release
  return [
    `${purpose} of ${profile}, epoch ${epoch}, ${call === 'stock' ? 'for stock Qubes in' : 'ordered by'} ${initiator}`,
    `job ${job}, asked at ${asked.toISOString()}, denied without an answer at ${expires.toISOString()}`,
    released.length === 0
      ? 'never released before'
      : `released before at ${released.map(time => time.toISOString()).join(', ')}`,
    ...(wantsPin ? ['wants the PIN again'] : []),
  ]
}
