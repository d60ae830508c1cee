import { expect, test } from 'vitest'
import { reportPage } from '../../src/report/page.ts'
import { signReport } from '../../src/report/sign.ts'
import { readUnverified, verifyReport } from '../../src/report/verify.ts'
import { dom0, failedReport, key, position, reportOf } from './support.ts'

const opened = verifyReport(await signReport(reportOf(position), dom0), key)

/** Elements with their attributes, in order. */
const tagsOf = (page: string) =>
  [...page.matchAll(/<([a-z][a-z0-9]*)([^>]*)>/g)].map(([, name, rest]) => [name, rest])

test('a page says what was proven, what was not, when the next is due and how to verify', () => {
  const page = reportPage(opened, true)
  for (const text of [
    'The drill passed.',
    '<td>Data</td><td class="passed">passed</td>',
    'every volume had the digest that the ledger binds',
    '1.5 GiB in 3:07 from the order to the last volume, at 12.0 MiB/s',
    'Nothing is said of other snapshots',
    'by 2026-12-24 04:31:07 UTC',
    opened.digest,
    opened.keyId,
    'c'.repeat(64),
    'strongroom drill verify REPORT --key roles.json',
    'was verified with the key below',
    'strongroom 0.1.0, e2fsck 1.47.0, sfdisk 2.38.1',
  ])
    expect(page, text).toContain(text)
  expect(page).not.toContain('Not proven:')
})

test('it loads nothing, runs nothing and links nowhere', () => {
  const page = reportPage(opened, true)
  const names = new Set(tagsOf(page).map(([name]) => name))
  for (const name of ['script', 'link', 'img', 'iframe', 'a', 'form', 'object', 'base', 'svg'])
    expect(names, name).not.toContain(name)
  expect(page).not.toMatch(/url\(|@import|src=|href=|\son[a-z]+=/)
  expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`)
  expect(page).toContain('size: A4')
})

test('a drill that stopped says what nobody knows, and is not taken for one that passed', async () => {
  const page = reportPage(readUnverified(await signReport(failedReport(), dom0)), false)
  expect(page).toContain('<td>File systems</td><td class="failed">failed</td>')
  expect(page.match(/<td>not reached<\/td>/g)).toHaveLength(3)
  expect(page).toContain('Unknown: whether a virtual machine starts from the volumes.')
  expect(page).toContain('<b>now: this one did not pass</b>')
  expect(page).toContain('was NOT verified')
  expect(page).not.toContain('The drill passed')
})

test('whatever stands in a report stays text', () => {
  const hostile = `</td></table><script>alert(1)</script><img src=x onerror="a('b')">&amp;`
  const { report } = opened
  const levels = report.levels.map(one => ({ ...one, message: hostile }))
  // Beyond what the parser lets through: the page relies on itself.
  const names = {
    profile: hostile,
    job: hostile,
    version: hostile,
    tools: [hostile],
  } as unknown as typeof report
  const page = reportPage({ ...opened, report: { ...report, ...names, levels } }, true)
  expect(tagsOf(page).map(([name]) => name)).toEqual(tagsOf(reportPage(opened, true)).map(([name]) => name))
  expect(page).toContain(
    '&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;amp;',
  )
})
