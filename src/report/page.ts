import { toBase64 } from '../base/bytes.ts'
import { html, type Markup } from '../base/html.ts'
import { durationText } from '../base/quantities.ts'
import type { DrillReport } from './report.ts'
import type { OpenedReport } from './verify.ts'
import { dueText, levelWords, notProven, restoreText, resultWords, utcText } from './words.ts'

/*
 * A report as one page to print and file. It loads nothing and runs nothing, also when a browser is told otherwise by what stands in
 * it: all text passes through `html`, which escapes it.
 */

/** `verified`: whether the signature was verified with a key that the caller trusts. */
export function reportPage({ report, digest, keyId }: OpenedReport, verified: boolean): string {
  const { profile, epoch, job, snapshot, ledger, verdict, began, ended, tools, version } = report
  const { markup } = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Restore drill ${job}: ${verdict}</title>
<style>${{ markup: style }}</style>
</head>
<body>
<header><h1>Restore drill</h1><p class="verdict ${verdict}">${verdict}</p></header>
<p class="lead">${resultWords[verdict]} The snapshot of profile <b>${profile}</b> of ${utcText(snapshot.time)} was its subject; the drill
went from ${utcText(began)} to ${utcText(ended)}.</p>
<h2>What was proven, level by level</h2>
<table class="levels"><thead><tr><th>Level</th><th>Result</th><th>Finding</th><th>Time</th></tr></thead>
<tbody>${levelRows(report)}</tbody></table>
<p>${report.restore === null ? 'Nothing was restored in full.' : `Restored: ${restoreText(report.restore)}.`}</p>
<h2>What was not</h2>
<ul>${notProven(report).map(sentence => html`<li>${sentence}</li>`)}</ul>
<h2>Next drill</h2>
<p>The next drill is due <b>${dueText(report)}</b>.</p>
<h2>Of what, and where it is recorded</h2>
<table class="facts"><tbody>${facts([
    ['Profile, epoch, job', `${profile}, ${epoch}, ${job}`],
    ['Snapshot', snapshot.id],
    ['Manifest', `${snapshot.manifest} (SHA-256)`],
    ['Sealed configuration', report.configuration],
    ['Ledger', `${ledger.origin}, at ${ledger.size} entries; the snapshot is entry ${snapshot.entry}`],
    ['Root of the ledger', toBase64(ledger.root)],
    ['Made by', [`strongroom ${version}`, ...tools].join(', ')],
  ])}</tbody></table>
<h2>How to verify</h2>
<p>This page is a rendering and proves nothing by itself; the signed file does. ${
    verified
      ? 'Its signature was verified with the key below when the page was made.'
      : 'Its signature was NOT verified when the page was made.'
  } Keep the file with the page, compare its digest, and verify it on any machine with the public key from the sealed configuration:</p>
<pre>sha256sum REPORT
strongroom drill verify REPORT --key roles.json</pre>
<table class="facts"><tbody>${facts([
    ['Digest of the file', `${digest} (SHA-256)`],
    ['Key', `${keyId} (SHA-256 of the public key, DER)`],
    ['Format', 'in-toto Statement v1 in a DSSE envelope, Ed25519'],
  ])}</tbody></table>
</body>
</html>
`
  return markup
}

function levelRows({ wanted, levels }: DrillReport): readonly Markup[] {
  return wanted.map((level, at) => {
    const verdict = levels[at]
    const { name, open } = levelWords[level]
    return verdict === undefined
      ? html`<tr><td>${name}</td><td>not reached</td><td>Unknown: ${open}.</td><td>-</td></tr>`
      : html`<tr><td>${name}</td><td class="${verdict.result}">${verdict.result}</td><td>${verdict.message}</td><td>${durationText(verdict.milliseconds)}</td></tr>`
  })
}

function facts(rows: readonly (readonly [string, string])[]): readonly Markup[] {
  return rows.map(([name, value]) => html`<tr><th>${name}</th><td>${value}</td></tr>`)
}

const style = `
@page { size: A4; margin: 11mm 16mm; }
* { box-sizing: border-box; }
body { max-width: 178mm; margin: 8mm auto; color: #111; background: #fff;
  font: 8.6pt/1.3 "Liberation Sans", "DejaVu Sans", Arial, sans-serif; }
header { display: flex; justify-content: space-between; align-items: center; border-bottom: 1.5pt solid #111; }
h1 { margin: 0; font-size: 18pt; }
h2 { margin: 2.6mm 0 0.8mm; font-size: 10.5pt; }
p, ul { margin: 1mm 0; }
ul { padding-left: 5mm; }
.verdict { padding: 1mm 4mm; border: 1.5pt solid; font-size: 13pt; font-weight: bold; text-transform: uppercase; }
.verdict.passed { color: #14602a; }
.verdict.failed, .verdict.suspicious, td.failed, td.suspicious { color: #a01010; }
.lead { margin-top: 2.5mm; font-size: 10pt; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.5mm 1.5mm; border-bottom: 0.5pt solid #bbb; text-align: left; vertical-align: top; }
.levels td:first-child { white-space: nowrap; }
.levels td:nth-child(2) { font-weight: bold; white-space: nowrap; }
.levels td:last-child { text-align: right; white-space: nowrap; }
.facts th { width: 36mm; font-weight: normal; color: #444; }
.facts td, pre { font-family: "Liberation Mono", "DejaVu Sans Mono", monospace; font-size: 7.2pt; overflow-wrap: anywhere; }
pre { margin: 1mm 0; padding: 1.5mm; background: #f2f2f2; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } tr, pre { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
`
