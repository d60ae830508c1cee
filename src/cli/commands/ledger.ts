import type { LedgerView } from '../../api/schemas.ts'
import { fromBase64, fromUtf8 } from '../../base/bytes.ts'
import { printable } from '../../base/errors.ts'
import { Untrusted } from '../../base/untrusted.ts'
import { verifyCheckpoint } from '../../ledger/checkpoint.ts'
import { formatVerifierKey, parseVerifierKey, type VerifierKey } from '../../ledger/note.ts'
import { verifyEntries } from '../../ledger/verify.ts'
import { parseLedgerView, parseNothing } from '../answers.ts'
import { CliError } from '../errors.ts'
import { readLedgerKey } from '../ledger-key.ts'
import type { Session } from '../session.ts'
import { type AddCommand, act, describe } from './command.ts'

const pageEntries = 500

export const addLedger: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'ledger',
    summary: 'show and verify the signed history',
    examples: ['strongroom ledger show', 'strongroom ledger verify --key roles.json'],
  })
  for (const add of [addShow, addVerify, addAcknowledge]) add(command, io)
  parent.addCommand(command)
}

const addShow: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'show',
    summary: 'show entries as dom0 sends them; nothing is verified',
    examples: ['strongroom ledger show', 'strongroom ledger show --from 100 --count 20 --json'],
  })
    .option('--from <index>', 'first entry', '0')
    .option('--count <n>', 'how many at most', '100')
    .action(
      act<{ from: string; count: string }>(io, async (session, { from, count }) => {
        const page = await fetchPage(session, from, count)
        const entries = page.entries.map(entry => printable(fromUtf8(fromBase64(entry))))
        const lines = entries.map((entry, index) => `${page.from + index}  ${entry}\n`)
        session.result('ledger', { ...page, entries }, `${lines.join('')}${page.size} entries in all\n`)
      }),
    )
  parent.addCommand(command)
}

const addVerify: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'verify',
    summary: 'fetch the whole ledger and prove that it is the one that dom0 signed',
    examples: ['strongroom ledger verify --key roles.json'],
  })
    .option(
      '--key <key>',
      'the sealed roles.json, or the key by which dom0 signs: a verifier key or base64, itself or in a file; without it, the one that the management VM gives is believed',
    )
    .action(act<{ key?: string }>(io, verify))
  parent.addCommand(command)
}

const addAcknowledge: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'acknowledge',
    summary: 'end the alarm of the witness, after having looked into it',
    examples: ['strongroom ledger acknowledge'],
  }).action(
    act(io, async session => {
      await session.api.request('DELETE', '/v1/ledger/alarm', parseNothing)
      session.result('alarm-acknowledged', {}, 'the alarm is acknowledged\n')
    }),
  )
  parent.addCommand(command)
}

async function verify(session: Session, { key: given }: { key?: string }): Promise<void> {
  const independent = given === undefined ? null : await readLedgerKey(given)
  const first = await fetchPage(session, '0', String(pageEntries))
  const key = independent ?? offeredKey(session, first)
  const checkpoint = verifyCheckpoint(new Untrusted(first.checkpoint), key)
  const entries = first.entries.map(fromBase64)
  while (entries.length < checkpoint.size) {
    const page = await fetchPage(session, String(entries.length), String(pageEntries))
    if (page.entries.length === 0) break
    entries.push(...page.entries.map(fromBase64))
    session.note(`${entries.length} of ${checkpoint.size} entries`)
  }
  // The ledger may have grown meanwhile; what came after the checkpoint is not its business.
  verifyEntries(entries.slice(0, checkpoint.size), checkpoint)
  const result = { origin: checkpoint.origin, size: checkpoint.size, key: formatVerifierKey(key) }
  session.result('ledger-verified', result, `${checkpoint.size} entries of ${checkpoint.origin} verified\n`)
}

function offeredKey(session: Session, { keys: [offered] }: LedgerView): VerifierKey {
  if (offered === undefined)
    throw new CliError('CLI_LEDGER_KEY', 'no key was given, and the management VM has none')
  session.note('the key is the one that the management VM gives; --key makes it independent')
  return parseVerifierKey(offered)
}

function fetchPage(session: Session, from: string, count: string): Promise<LedgerView> {
  const query = new URLSearchParams({ from, count })
  return session.api.request('GET', `/v1/ledger?${query}`, parseLedgerView)
}
