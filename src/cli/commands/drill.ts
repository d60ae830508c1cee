import { printable } from '../../base/errors.ts'
import { readBounded } from '../../base/files.ts'
import { durationText } from '../../base/quantities.ts'
import type { Untrusted } from '../../base/untrusted.ts'
import type { VerifierKey } from '../../ledger/note.ts'
import { reportPage } from '../../report/page.ts'
import { requireInLedger } from '../../report/position.ts'
import { predicateOf, reportBytesMax } from '../../report/report.ts'
import { type OpenedReport, readUnverified, verifyReport } from '../../report/verify.ts'
import { dueText, notProven, restoreText, resultWords, utcText } from '../../report/words.ts'
import { parseReportView } from '../answers.ts'
import { CliError } from '../errors.ts'
import { findSnapshot } from '../find-snapshot.ts'
import { readLedgerKey } from '../ledger-key.ts'
import { type OrderOptions, placeOrder } from '../place-order.ts'
import type { Printer } from '../session.ts'
import type { Style } from '../style.ts'
import { type AddCommand, act, actOffline, describe } from './command.ts'

const keyText =
  'the sealed roles.json, or the key by which dom0 signs: a verifier key or base64, itself or in a file'

export const addDrill: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'drill',
    summary: 'order restore drills; fetch, verify and show their signed reports',
    examples: [
      'strongroom drill run nightly --wait',
      'strongroom drill fetch 20261124T031500Z-1f2e3d4c > report.json',
      'strongroom drill verify report.json --key roles.json',
      'strongroom drill report report.json --key roles.json --html > report.html',
    ],
  })
  for (const add of [addRun, addFetch, addVerify, addReport]) add(command, io)
  parent.addCommand(command)
}

const addRun: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'run <profile>',
    summary: 'order a restore drill: what it proves, the sealed profile says',
    examples: [
      'strongroom drill run nightly --wait',
      'strongroom drill run nightly --snapshot 6f3c09e1 --wait',
    ],
  })
    .option(
      '--snapshot <id>',
      'which snapshot: its id, or the first 8 digits or more of it; the newest when absent',
    )
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<OrderOptions & { snapshot?: string }>(io, async (session, options, [profile = '']) => {
        const { snapshot } = options
        const which =
          snapshot === undefined ? {} : { snapshot: await findSnapshot(session, profile, snapshot) }
        await placeOrder(session, { profile, kind: 'drill', ...which }, options)
      }),
    )
  parent.addCommand(command)
}

const addFetch: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'fetch <job>',
    summary: 'the signed report of a drill, as a file to keep: `drill verify` proves it anywhere',
    examples: ['strongroom drill fetch 20261124T031500Z-1f2e3d4c > report.json'],
  }).action(
    act(io, async (session, _, [job = '']) => {
      const path = `/v1/jobs/${encodeURIComponent(job)}/report`
      const { envelope } = await session.api.request('GET', path, parseReportView)
      session.result('drill-envelope', { envelope }, envelope)
    }),
  )
  parent.addCommand(command)
}

const addVerify: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'verify <report>',
    summary: 'prove, offline, what a report says: 0 when it is genuine and the drill passed',
    examples: [
      'strongroom drill verify report.json --key roles.json',
      'strongroom drill verify report.json --key roles.json --ledger /mnt/ledger --json',
    ],
  })
    .requiredOption('--key <key>', keyText)
    .option('--ledger <directory>', 'a copy of dom0’s ledger, which has to contain what the report names')
    .action(actOffline<{ key: string; ledger?: string }>(io, verify))
  parent.addCommand(command)
}

const addReport: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'report <report>',
    summary: 'show a report, or make a page of it to print and file',
    examples: [
      'strongroom drill report report.json',
      'strongroom drill report report.json --key roles.json --html > report.html',
    ],
  })
    .option('--html', 'one page of HTML that needs nothing else')
    .option('--key <key>', `verify it too: ${keyText}`)
    .action(
      actOffline<{ html?: boolean; key?: string }>(io, async (printer, { html = false, key }, [file = '']) =>
        tellReport(
          printer,
          await readReport(file),
          key === undefined ? null : await readLedgerKey(key),
          html,
        ),
      ),
    )
  parent.addCommand(command)
}

async function verify(
  printer: Printer,
  { key: given, ledger }: { key: string; ledger?: string },
  [file = '']: readonly string[],
): Promise<void> {
  const key = await readLedgerKey(given)
  const opened = (await readReport(file)).parse(untrustedBytes => verifyReport(untrustedBytes, key))
  const ledgerSize = ledger === undefined ? null : await requireInLedger(opened.report, ledger, key)
  const { verdict, ledger: at } = opened.report
  const compared =
    ledgerSize === null
      ? `not compared: --ledger compares it with a copy; the report was made at ${at.size} entries`
      : `the copy, of ${ledgerSize} entries, has what the report says it had at ${at.size}, and the snapshot`
  const text = `${textOf(opened, printer.style)}signature  genuine, of ${at.origin}\nledger     ${compared}\n`
  printer.result('drill-verified', { ...resultOf(opened, true), ledgerSize }, text)
  if (verdict !== 'passed')
    throw new CliError(
      'CLI_DRILL_NOT_PASSED',
      `a genuine report of a drill that ${verdict === 'failed' ? 'failed' : 'came to no sound end'}`,
    )
}

/** Shows a report, wherever it came from. `key`: verify it before. */
function tellReport(
  printer: Printer,
  untrustedReport: Untrusted<Uint8Array>,
  key: VerifierKey | null,
  html: boolean,
): void {
  if (html && printer.json) throw new CliError('CLI_USAGE', '--html and --json are two forms: give one')
  const opened = untrustedReport.parse(bytes =>
    key === null ? readUnverified(bytes) : verifyReport(bytes, key),
  )
  if (html) printer.io.stdout.write(reportPage(opened, key !== null))
  else printer.result('drill-report', resultOf(opened, key !== null), textOf(opened, printer.style))
  if (key === null) printer.note('the signature was not verified: --key does')
}

function resultOf({ report, digest, keyId }: OpenedReport, verified: boolean): object {
  return { verified, digest, key: keyId, report: predicateOf(report) }
}

function textOf({ report, digest, keyId }: OpenedReport, { strong, good, bad }: Style): string {
  const { profile, epoch, job, began, ended, snapshot, wanted, levels, restore, verdict } = report
  const lines = [
    `${strong((verdict === 'passed' ? good : bad)(verdict))}  ${resultWords[verdict]}`,
    `profile    ${profile}, epoch ${epoch}, job ${job}`,
    `held       ${utcText(began)} to ${utcText(ended)}`,
    `snapshot   ${snapshot.id} of ${utcText(snapshot.time)}, entry ${snapshot.entry} of the ledger`,
    ...wanted.map((level, at) => {
      const { result, message, milliseconds } = levels[at] ?? { result: 'not reached', message: '' }
      const found = milliseconds === undefined ? '' : `  ${message} (${durationText(milliseconds)})`
      return `${level.padEnd(10)} ${result}${found}`
    }),
    `restored   ${restore === null ? 'nothing in full' : restoreText(restore)}`,
    `next drill ${dueText(report)}`,
    ...notProven(report).map(sentence => `note       ${sentence}`),
    `file       sha256 ${digest}`,
    `key        sha256 ${keyId}`,
  ]
  return lines.map(line => `${line}\n`).join('')
}

async function readReport(file: string): Promise<Untrusted<Uint8Array>> {
  const found = await readBounded(file, reportBytesMax).catch(cause => {
    throw new CliError('CLI_REPORT_FILE', `${printable(file)} does not read`, { cause })
  })
  if (found === null) throw new CliError('CLI_REPORT_FILE', `there is no file ${printable(file)}`)
  return found
}
