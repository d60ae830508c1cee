import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CodedError } from '../../../src/base/errors.ts'
import { localInventory } from '../../../src/host/local/inventory.ts'

const never = new AbortController().signal
const described = {
  class: 'AppVM',
  tags: ['work'],
  running: false,
  includeInBackups: true,
  volumes: { private: 'private.img' },
}

let root: string

async function makeVm(name: string, vmJson: unknown): Promise<void> {
  await mkdir(join(root, name))
  await writeFile(join(root, name, 'private.img'), Buffer.alloc(100_000, 1))
  await writeFile(join(root, name, 'vm.json'), typeof vmJson === 'string' ? vmJson : JSON.stringify(vmJson))
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'inventory-'))
})
afterEach(() => rm(root, { recursive: true }))

describe('the inventory of the local host', () => {
  test('lists VMs by name with their volumes', async () => {
    await makeVm('work', described)
    await makeVm('big', { ...described, class: 'StandaloneVM', tags: [], running: true })
    await mkdir(join(root, 'unfinished'))
    await writeFile(join(root, 'README'), 'not a VM')
    const [admin, big, work, ...rest] = await localInventory(root).list(never)
    expect(admin).toMatchObject({ name: 'dom0', class: 'AdminVM', volumes: [] })
    expect(rest).toEqual([])
    expect(big).toMatchObject({ name: 'big', class: 'StandaloneVM', running: true, tags: [] })
    expect(work).toMatchObject({ name: 'work', class: 'AppVM', tags: ['work'], includeInBackups: true })
    expect(work?.volumes).toMatchObject([{ name: 'private', bytes: 100_000 }])
    expect(work?.volumes[0]?.usage).toBeLessThanOrEqual(100_000)
  })

  test.each([
    ['not JSON', '{'],
    ['an unknown field', { ...described, owner: 'me' }],
    ['a missing field', { ...described, tags: undefined }],
    ['a class that is none', { ...described, class: 'Container' }],
    ['a tag with a space', { ...described, tags: ['a b'] }],
    ['a volume outside the directory', { ...described, volumes: { private: '../other/private.img' } }],
    ['a volume that is a working file', { ...described, volumes: { private: '.frozen-private-1' } }],
    ['a volume name with a slash', { ...described, volumes: { 'a/b': 'private.img' } }],
    ['a volume that is not there', { ...described, volumes: { private: 'other.img' } }],
    ['a duplicate key', `{"class":"AppVM",${JSON.stringify(described).slice(1)}`],
  ])('refuses %s, by a typed error that names the VM', async (_, vmJson) => {
    await makeVm('work', vmJson)
    const error = await localInventory(root)
      .list(never)
      .catch(error => error)
    expect(error).toBeInstanceOf(CodedError)
    expect(error.code).toMatch(/^VM_INVALID|VOLUME_MISSING$/)
    expect(error.message).toContain('work')
  })

  test('refuses a directory that would be another dom0', async () => {
    await makeVm('dom0', described)
    await expect(localInventory(root).list(never)).rejects.toMatchObject({ code: 'VM_INVALID' })
  })

  test('refuses a volume that is a link', async () => {
    await makeVm('work', { ...described, volumes: { private: 'link.img' } })
    await symlink('/etc/passwd', join(root, 'work', 'link.img'))
    await expect(localInventory(root).list(never)).rejects.toMatchObject({ code: 'VOLUME_MISSING' })
  })

  test('without a directory is a typed error', async () => {
    await expect(localInventory(join(root, 'none')).list(never)).rejects.toMatchObject({ code: 'VM_MISSING' })
  })
})
