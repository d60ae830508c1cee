import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { catalogues, pages } from '../scripts/reference-pages.ts'
import { parsePolicy } from '../src/qrexec/policy-files.ts'

const root = path.join(import.meta.dirname, '..')

describe('pages made from declarations', () => {
  it.each(Object.entries(pages))('%s is what the code says (npm run docs)', (file, render) => {
    expect(readFileSync(path.join(root, file), 'utf8')).toBe(render())
  })

  it('every folder with errors has its catalogue on the page', () => {
    const folders = readdirSync(path.join(root, 'src'), { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .map(({ name }) => name)
      .filter(name =>
        readdirSync(path.join(root, 'src', name)).some(file => /^(base-)?errors\.ts$/.test(file)),
      )
    expect(Object.keys(catalogues).sort()).toEqual(folders.sort())
  })

  it('no code stands in two catalogues with different kinds', () => {
    const kinds = new Map<string, string>()
    for (const catalogue of Object.values(catalogues))
      for (const [code, { kind }] of Object.entries(catalogue)) {
        expect(kinds.get(code) ?? kind, code).toBe(kind)
        kinds.set(code, kind)
      }
  })

  it('the policy is one that the evaluator accepts', () => {
    const text = readFileSync(path.join(root, 'policy.d/30-strongroom.policy'), 'utf8')
    expect(parsePolicy(new Map([['30-strongroom.policy', text]])).rules.length).toBeGreaterThan(20)
  })
})
