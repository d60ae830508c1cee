import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { apiErrors } from '../src/api/errors.ts'
import { baseErrors } from '../src/base/base-errors.ts'
import { type ErrorCatalogue, errorKinds } from '../src/base/errors.ts'
import { cliErrors } from '../src/cli/errors.ts'
import { cryptoErrors } from '../src/crypto/errors.ts'
import { drillErrors } from '../src/drill/errors.ts'
import { engineErrors } from '../src/engine/errors.ts'
import { hostErrors } from '../src/host/errors.ts'
import { hsmErrors } from '../src/hsm/errors.ts'
import { ledgerErrors } from '../src/ledger/errors.ts'
import { profileErrors } from '../src/profiles/errors.ts'
import { allCalls, type CallDeclaration } from '../src/qrexec/calls/all.ts'
import { qrexecErrors } from '../src/qrexec/errors.ts'
import { renderPolicy } from '../src/qrexec/render-policy.ts'
import { reportErrors } from '../src/report/errors.ts'
import { repositoryErrors } from '../src/repository/errors.ts'
import { restoreErrors } from '../src/restore/errors.ts'
import { sealingErrors } from '../src/sealing/errors.ts'
import { storageErrors } from '../src/storage/errors.ts'
import { tpmErrors } from '../src/tpm/errors.ts'

/*
 * Pages and files that are made from declarations in the code: `npm run docs` writes them, a test compares them.
 */

export const catalogues: Readonly<Record<string, ErrorCatalogue>> = {
  base: baseErrors,
  crypto: cryptoErrors,
  profiles: profileErrors,
  qrexec: qrexecErrors,
  tpm: tpmErrors,
  sealing: sealingErrors,
  ledger: ledgerErrors,
  storage: storageErrors,
  host: hostErrors,
  repository: repositoryErrors,
  hsm: hsmErrors,
  report: reportErrors,
  engine: engineErrors,
  restore: restoreErrors,
  drill: drillErrors,
  api: apiErrors,
  cli: cliErrors,
}

function errorsPage(): string {
  const kinds = Object.entries(errorKinds).map(
    ([kind, { status, exit, meaning }]) => `| \`${kind}\` | ${status} | ${exit} | ${meaning} |`,
  )
  const sections = Object.entries(catalogues).map(([folder, catalogue]) => {
    const rows = Object.entries(catalogue).map(
      ([code, { kind, meaning, hint }]) => `| \`${code}\` | ${kind} | ${meaning} | ${hint} |`,
    )
    return `## ${folder}\n\n| code | kind | meaning | what to do |\n|---|---|---|---|\n${rows.join('\n')}\n`
  })
  return `# Errors

Every error has a code that does not change, a kind, a message and a hint. The kind gives the HTTP status of the API and the
exit status of the command line. An exit status that is not listed here is a failure.

| kind | HTTP | exit | meaning |
|---|---|---|---|
${kinds.join('\n')}

${sections.join('\n')}`
}

function callsPage(): string {
  const row = ({ service, argument, from, to, summary }: CallDeclaration) =>
    `| \`${service}\`${argument === 'none' ? '' : `+${argument.toUpperCase()}`} | ${from.join(', ')} | ${to} | ${summary} |`
  return `# Calls

Everything that one VM may ask of another, over qrexec. Who may call is the sealed policy's to decide; the file
[\`policy.d/30-strongroom.policy\`](../../policy.d/30-strongroom.policy) is made from the same declarations as this table.

| call | from | to | what it does |
|---|---|---|---|
${allCalls.map(row).join('\n')}

Requests and answers are bounded before they are read. An answer has the Admin API's form: \`0\\0\` and the content, or
\`2\\0CODE\\0\\0MESSAGE\\0KIND\\0HINT\\0\`. \`admin.*\` and \`qubes.*\` calls answer exactly as stock Qubes does.
`
}

export const pages: Readonly<Record<string, () => string>> = {
  'docs/reference/errors.md': errorsPage,
  'docs/reference/calls.md': callsPage,
  'policy.d/30-strongroom.policy': () => renderPolicy(allCalls),
}

if (import.meta.main) {
  const root = path.join(import.meta.dirname, '..')
  for (const [file, render] of Object.entries(pages)) {
    const target = path.join(root, file)
    const text = render()
    if (readOrNothing(target) === text) continue
    writeFileSync(target, text)
    console.log(`wrote ${file}`)
  }
}

function readOrNothing(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}
