import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import {
  breachesOf,
  cyclesOf,
  importsOf,
  loadersOf,
  readProcesses,
  readTree,
  sideDoorsOf,
  type Tree,
  wrongDirections,
} from './support/fences.ts'

const root = path.join(import.meta.dirname, '..')
const tree = readTree(root, 'src')
const processes = readProcesses(root)

function planted(files: Record<string, string>): Tree {
  return new Map([...tree, ...Object.entries(files)])
}

describe('the scan sees the tree', () => {
  it('finds the files and their imports', () => {
    expect(tree.size).toBeGreaterThan(80)
    expect(importsOf(tree).length).toBeGreaterThan(300)
    expect(importsOf(tree)).toContainEqual({ from: 'src/base/names.ts', to: 'src/base/base-errors.ts' })
  })

  it('sees every form of import', () => {
    const forms = new Map([
      [
        'src/base/x.ts',
        `import a from './a.ts'\nimport type { B } from "./b.ts"\nexport { c } from './c.ts'\nimport './d.ts'\nconst e = await import('./e.ts')\nimport {\n  f,\n  type G,\n} from './f.ts'\nnew Worker(new URL('./g.ts', import.meta.url))`,
      ],
    ])
    expect(
      importsOf(forms)
        .map(({ to }) => to)
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g'].map(name => `src/base/${name}.ts`))
  })
})

describe('directions', () => {
  it('imports point down', () => {
    expect(wrongDirections(tree)).toEqual([])
  })
  it('no folder has a cycle', () => {
    expect(cyclesOf(tree)).toEqual([])
  })
  it.each([
    ['upward', { 'src/crypto/planted.ts': `import '../engine/orders.ts'` }],
    ['sideways', { 'src/ledger/planted.ts': `import type { X } from '../storage/local.ts'` }],
    ['into a folder without a row', { 'src/other/planted.ts': '' }],
  ])('catches an import %s', (_, files) => {
    expect(wrongDirections(planted(files))).toHaveLength(1)
  })
  it('catches a cycle', () => {
    const files = { 'src/base/p.ts': `import './q.ts'`, 'src/base/q.ts': `import './p.ts'` }
    expect(cyclesOf(planted(files))).toHaveLength(1)
  })
})

describe('side doors', () => {
  it('are shut', () => {
    expect(sideDoorsOf(tree)).toEqual([])
  })
  it.each([
    'const x = await import(name)',
    `import { createRequire } from 'other'`,
    `const y = require('x')`,
    'process.dlopen(module, file)',
    `eval('1')`,
    `import vm from 'node:vm'`,
  ])('catches: %s', text => {
    expect(sideDoorsOf(planted({ 'src/base/planted.ts': text })).length).toBeGreaterThan(0)
  })
})

describe('processes', () => {
  it('are the ones of the architecture', () => {
    expect(processes.map(({ name }) => name).sort()).toEqual([
      'cli',
      'dom0',
      'drill-sandbox',
      'hsm-vm',
      'local-host',
      'mgmt-vm',
      'sandbox',
      'seal',
      'storage-vm',
    ])
  })

  it.each(processes.map(list => [list.name, list] as const))(
    '%s holds only what its list names',
    (_, list) => {
      expect(breachesOf(tree, list)).toEqual([])
    },
  )

  it.each([
    ['dom0', 'src/hsm/token.ts'],
    ['dom0', 'src/sealing/sign.ts'],
    ['dom0', 'src/api/app.ts'],
    ['mgmt-vm', 'src/hsm/envelope.ts'],
    ['mgmt-vm', 'src/crypto/aead.ts'],
    ['mgmt-vm', 'src/repository/repository.ts'],
    ['mgmt-vm', 'src/engine/orders.ts'],
    ['storage-vm', 'src/crypto/aead.ts'],
    ['storage-vm', 'src/repository/repository.ts'],
    ['sandbox', 'src/hsm/token.ts'],
    ['sandbox', 'src/drill/inside/work.ts'],
    ['drill-sandbox', 'src/qrexec/client.ts'],
    ['drill-sandbox', 'src/repository/repository.ts'],
    ['drill-sandbox', 'src/storage/remote.ts'],
    ['drill-sandbox', 'src/crypto/aead.ts'],
    ['hsm-vm', 'src/repository/repository.ts'],
    ['hsm-vm', 'src/tpm/device/tpm.ts'],
    ['mgmt-vm', 'src/tpm/device/tpm.ts'],
    ['mgmt-vm', 'src/sealing/sign.ts'],
    ['mgmt-vm', 'src/sealing/store.ts'],
    ['seal', 'src/tpm/device/tpm.ts'],
    ['cli', 'src/crypto/aead.ts'],
    ['cli', 'src/report/sign.ts'],
    ['cli', 'src/ledger/signing.ts'],
    ['mgmt-vm', 'src/report/sign.ts'],
  ])('%s may not reach %s, not even through a chain or for a type', (name, forbidden) => {
    const list = processes.find(one => one.name === name)
    if (list === undefined) throw new Error(`no process ${name}`)
    expect(tree.has(forbidden)).toBe(true)
    const entry = tree.get(list.entry) ?? ''
    const chain = planted({
      [list.entry]: `${entry}\nimport '../base/planted.ts'`,
      'src/base/planted.ts': `import type { X } from '../${forbidden.slice('src/'.length)}'`,
    })
    expect(breachesOf(chain, list)).toContain(`${name}: ${forbidden} is not listed`)
  })

  it.each([
    ['dom0', ['src/host/commands.ts'], 'src/host/errors.ts'],
    ['drill-sandbox', ['src/drill/inside/tools.ts'], 'src/drill/inside/versions.ts'],
    ['seal', ['src/hsm/token-channel.ts', 'src/sealing/erofs.ts'], 'src/sealing/errors.ts'],
  ])('%s starts programs in few files only', (name, files, other) => {
    const list = processes.find(one => one.name === name)
    if (list === undefined) throw new Error(`no process ${name}`)
    expect(loadersOf(tree, list, 'node:child_process')).toEqual(files)
    const second = planted({ [other]: `import { spawn } from 'node:child_process'` })
    expect(loadersOf(second, list, 'node:child_process')).toEqual([...files, other])
  })

  it.each([
    ['dom0', 'fastify'],
    ['dom0', 'pkcs11js'],
    ['dom0', 'node:http'],
    ['hsm-vm', 'node:http'],
    ['sandbox', 'node:https'],
    ['drill-sandbox', 'node:net'],
    ['mgmt-vm', 'pkcs11js'],
    ['storage-vm', 'libsodium-wrappers-sumo'],
  ])('%s may not load %s', (name, module) => {
    const list = processes.find(one => one.name === name)
    if (list === undefined) throw new Error(`no process ${name}`)
    const entry = `${tree.get(list.entry) ?? ''}\nimport '${module}'`
    expect(breachesOf(planted({ [list.entry]: entry }), list)).toHaveLength(1)
  })
})

describe('the compiler', () => {
  const copy = mkdtempSync(path.join(tmpdir(), 'fences-'))
  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  it('refuses a file that is not on the list, and names it', () => {
    for (const part of ['src', 'processes', 'package.json', 'tsconfig.base.json'])
      cpSync(path.join(root, part), path.join(copy, part), { recursive: true })
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
    const build = () =>
      spawnSync(path.join(root, 'node_modules/.bin/tsc'), ['-b', 'processes/storage-vm.json'], {
        cwd: copy,
        encoding: 'utf8',
      }).stdout
    expect(build()).toBe('')
    const entry = path.join(copy, 'src/main/storage-vm.ts')
    const breach = `import type { Secret } from '../base/secret.ts'\nimport type { RepositoryKey } from '../crypto/aead.ts'\nexport type Planted = [Secret, RepositoryKey]\n`
    writeFileSync(entry, breach + readFileSync(entry, 'utf8'))
    expect(build()).toMatch(/aead\.ts' is not listed/)
  })
})
